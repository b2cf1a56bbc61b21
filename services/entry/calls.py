"""A call as the fronts hand it to the gateway, and the answer that they get back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from libs.common.catalog import Model
from libs.common.envelope import InferRequest, Outcome, RequestSource, TimeBounds
from libs.common.world_map import Token
from services.entry.limits import NO_BOUNDS
from services.entry.routing import Target
from services.entry.tasks.base import ParsedInput, Result, Task


class Told(Struct, frozen=True, kw_only=True, gc=False):
    """What a client says of a call beside its body."""

    options: Mapping[str, str] = MappingProxyType({})
    stream: bool | None = None  # None: as the body says
    session: str = ""
    idempotency_key: str = ""
    traceparent: str = ""
    retry_count: int = 0
    bounds: TimeBounds = NO_BOUNDS
    source: RequestSource = RequestSource.REST


NOTHING = Told()


class Call(Struct, frozen=True, kw_only=True, gc=False):
    """What a client wants, whichever front it came through."""

    token: Token
    model: str
    body: Mapping[str, Any]
    task: str = ""  # the only task that this route takes, or empty
    client_request_id: str = ""
    bytes_in: int = 0
    told: Told = NOTHING


class Plan(Struct, frozen=True, kw_only=True, gc=False):
    """A call that was found right: what to send, where to, and how to read the answer."""

    request: InferRequest  # as the first of the targets gets it
    model: Model
    task: Task
    parsed: ParsedInput
    targets: tuple[Target, ...]
    began: float  # monotonic seconds


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """What a unary call is answered with."""

    result: Result
    outcome: Outcome
