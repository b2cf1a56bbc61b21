"""A call as the fronts hand it to the gateway, and the answer that they get back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from libs.common.catalog import Model
from libs.common.envelope import Outcome, RequestSource, TimeBounds
from libs.common.world_map import Token
from services.entry.limits import NO_BOUNDS
from services.entry.options import Options
from services.entry.routing import Target
from services.entry.tasks.base import ParsedInput, Result, Task


class Call(Struct, frozen=True, kw_only=True, gc=False):
    """What a client wants, whichever front it came through."""

    token: Token
    model: str
    body: Mapping[str, Any]
    task: str = ""  # the only task that this route takes, or empty
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: bool | None = None  # None: as the body says
    session: str = ""
    client_request_id: str = ""
    idempotency_key: str = ""
    traceparent: str = ""
    retry_count: int = 0
    bounds: TimeBounds = NO_BOUNDS
    source: RequestSource = RequestSource.REST
    bytes_in: int = 0


class Plan(Struct, frozen=True, kw_only=True, gc=False):
    """A call that was found right: what to send, where to, and until when."""

    call: Call
    request_id: str
    model: Model
    task: Task
    parsed: ParsedInput
    payload: bytes
    stream: bool
    options: Options
    priority: int
    adapter: str  # a finetune's id
    targets: tuple[Target, ...]
    bounds: TimeBounds
    began: float  # monotonic seconds


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """What a unary call is answered with."""

    request_id: str
    result: Result
    outcome: Outcome
