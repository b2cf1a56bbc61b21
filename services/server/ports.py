"""What the server needs from the outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from libs.common.catalog import Model
from libs.common.envelope import InferRequest
from services.server.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said."""

    payload: bytes
    content_type: str = ""


class Backend(Protocol):
    """Speaks to one kind of endpoint.

    Errors: Unavailable (with `sent` where the model may have seen the request),
    DeadlineExceeded, ModelRefused, ModelFailed, StreamLost.
    """

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        """Run the request and return its one answer."""
        ...

    def stream(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> AsyncIterator[bytes]:
        """Run the request and yield its parts; closing it stops the model."""
        ...

    async def probe(self, endpoint: Endpoint, model: Model) -> bool:
        """Whether the endpoint can take requests for the model; never raises for a 'no'."""
        ...
