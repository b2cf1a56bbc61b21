"""A call as the fronts hand it to the gateway, and the answer that they get back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from libs.common.catalog import Model
from libs.common.deadline import Deadline
from libs.common.envelope import Outcome, RequestSource, TimeBounds
from libs.common.world_map import Token
from services.entry.options import Options
from services.entry.routing import Target
from services.entry.tasks.base import ParsedInput, Result, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a client wants, whichever front it came through."""

    token: Token
    model: str
    body: Mapping[str, Any]
    task: str = ""  # the only task that this route takes, or empty
    options: Mapping[str, str] = field(default_factory=dict)
    stream: bool | None = None  # None: as the body says
    session: str = ""
    client_request_id: str = ""
    idempotency_key: str = ""
    traceparent: str = ""
    retry_count: int = 0
    bounds: TimeBounds = field(default_factory=TimeBounds)
    source: RequestSource = RequestSource.REST
    bytes_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
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
    finetune: str
    adapter: str
    targets: tuple[Target, ...]
    deadline: Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a unary call is answered with."""

    request_id: str
    result: Result
    outcome: Outcome
