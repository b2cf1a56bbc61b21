"""What the server needs from the outside."""

from __future__ import annotations

from typing import Literal, Protocol

from libs.common.catalog import Model
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest
from libs.common.ports import Send
from libs.common.values import Value
from services.server.endpoints import Endpoint

Depth = Literal["server", "model", "inference"]


class Answer(Value):
    """What a model said."""

    __slots__ = ("content_type", "payload")

    def __init__(self, payload: bytes, content_type: str = "") -> None:
        self.payload = payload
        self.content_type = content_type


class Backend(Protocol):
    """Speaks to one kind of endpoint.

    Errors: Unavailable (with `sent` where the model may have seen the request; EndpointFull where
    the endpoint has no room for it), DeadlineExceeded, ModelRefused, ModelFailed, StreamLost.
    """

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        """Run the request and return its one answer, within the time."""
        ...

    async def stream(
        self,
        endpoint: Endpoint,
        model: Model,
        request: InferRequest,
        send: Send,
        *,
        deadline: Deadline,
    ) -> None:
        """Run the request and hand its parts to `send` as they come, within all bounds.

        Cancelling it stops the model.
        """
        ...

    async def probe(
        self, endpoint: Endpoint, model: Model, depth: Depth, *, timeout_s: float
    ) -> bool | None:
        """Say whether the endpoint is well, within the time; None where that cannot be told.

        `server`: somebody answers at its address. `model`: the model is loaded there.
        `inference`: the model itself answers to what the catalog has for that.
        """
        ...


class ModelCheck(Protocol):
    """Compares a model where it runs with the catalog's words for it."""

    async def flaw(self, endpoint: Endpoint, model: Model) -> str | None:
        """Return why its calls would fail; empty where it fits, None where nobody answers."""
        ...
