"""The spans of requests at entry: begun under the caller's, told once the answer is out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from libs.common.errors import RequestError
from libs.common.spans import SERVER, Attribute, Span, Spans, WallClock
from libs.common.trace_context import TraceContext, new_span_id, new_trace_id, read_context
from services.entry.metrics import CLIENT_LEFT, Counted, EntryMetrics

SHARE_BITS: Final = 64  # of a trace's id: by these all who sample by share decide alike
BINDINGS: Final = "constellation.v1.BindingService/"
GRPC: Final = "gRPC "
ACCOUNTS: Final = "/client/v4/accounts/"
HAS_FAILED: Final = 500  # and above, as OpenTelemetry counts a server's answers


class RequestTrace:
    """What one request is part of: what its calls carry on, and our span's parent."""

    __slots__ = ("context", "is_ours", "parent_id")

    def __init__(self, context: TraceContext, parent_id: str, is_ours: bool) -> None:
        self.context = context
        self.parent_id = parent_id  # empty: the trace begins here
        self.is_ours = is_ours  # there is a span of ours, to be told

    def __repr__(self) -> str:
        return f"<RequestTrace {self.context.traceparent}>"


class Traces:
    """Decides which requests are traced, and takes the end of each."""

    def __init__(
        self,
        spans: Spans,
        *,
        entry: str,
        colo: str,
        share: float,
        rng: random.Random | None = None,
        wall: WallClock | None = None,
    ) -> None:
        """`share` of the requests are traced whose callers have not decided on it."""
        self._spans = spans
        self._share = share
        self._below = int(share * 2**SHARE_BITS)
        self._rng = rng or random.Random()
        self._wall = wall or WallClock()
        self._where: dict[str, Attribute] = {
            "constellation.entry": entry,
            "constellation.colo": colo,
        }

    def __repr__(self) -> str:
        return f"<Traces of {self._share:.0%} to {self._spans!r}>"

    def begin(self, caller: TraceContext | None) -> RequestTrace:
        """Return the trace of a request: the caller's, if it has one, and as it has decided."""
        rng = self._rng
        if caller is not None:
            if not caller.is_sampled:
                return RequestTrace(caller, "", False)
            return RequestTrace(caller.at(new_span_id(rng)), caller.span_id, True)
        trace_id = new_trace_id(rng)
        is_ours = int(trace_id[16:], 16) < self._below
        return RequestTrace(TraceContext(trace_id, new_span_id(rng), is_ours), "", is_ours)

    def __call__(self, counted: Counted, status: int) -> None:
        """Take one request as it ended."""
        trace = counted.trace
        if not isinstance(trace, RequestTrace):  # it was refused before it became a call
            trace = self.begin(read_context(*counted.caller()))
        if not trace.is_ours:
            return
        name, attributes = _asked(counted, status)
        attributes.update(self._where)
        error = counted.error
        if error is not None:
            attributes["error.type"] = error.reason
            attributes["constellation.error_code"] = error.code
        elif status == CLIENT_LEFT:
            attributes["error.type"] = "client_left"
        self._spans.emit(
            Span(
                name=name,
                trace_id=trace.context.trace_id,
                span_id=trace.context.span_id,
                parent_id=trace.parent_id,
                state=trace.context.state,
                kind=SERVER,
                began_ns=self._wall.unix_ns(counted.began),
                ended_ns=self._wall.unix_ns(time.monotonic()),
                attributes=attributes,
                has_failed=has_failed(status, error),
            )
        )


def traced(spans: Spans | None, *, entry: str, colo: str, share: float) -> Traces | None:
    """Return what makes entry's spans, None where nobody takes them."""
    return None if spans is None else Traces(spans, entry=entry, colo=colo, share=share)


def tell_ends(
    metrics: EntryMetrics, *, log: Callable[[Counted, int], None] | None, traces: Traces | None
) -> None:
    """Have the end of each request told to those that there are."""
    if traces is None:
        metrics.log = log
        return
    metrics.begin_trace = traces.begin

    def tell(counted: Counted, status: int) -> None:
        traces(counted, status)
        if log is not None:
            log(counted, status)

    metrics.log = tell


def has_failed(status: int, error: RequestError | None) -> bool:
    """Whether it is the server's failure: a client's mistake is none, a stream that broke is."""
    return status >= HAS_FAILED or (error is not None and error.http >= HAS_FAILED)


def route_of(path: str) -> str:
    """Return the route of a path that runs a model, empty for others: few, however many paths."""
    if path.startswith("/v1/"):
        return path
    account, _, rest = path.removeprefix(ACCOUNTS).partition("/")
    if not path.startswith(ACCOUNTS) or not account:
        return ""
    if rest.startswith("ai/run/"):
        return ACCOUNTS + "{account}/ai/run/{model}"
    return f"{ACCOUNTS}{{account}}/{rest}" if rest.startswith("ai/v1/") else ""


def _asked(counted: Counted, status: int) -> tuple[str, dict[str, Attribute]]:
    """Return the span's name, and what it says of what was asked for."""
    told, plan = counted.told(), counted.plan
    what = told["what"]
    if what.startswith(GRPC):
        name = BINDINGS + what.removeprefix(GRPC)
        error = counted.error
        attributes: dict[str, Attribute] = {
            "rpc.system": "grpc",
            "rpc.method": name,
            "rpc.response.status_code": error.status if error is not None else "OK",
        }
    else:
        method, _, path = what.partition(" ")
        route = route_of(path)
        name = f"{method} {route}".strip() or "HTTP"
        attributes = {
            "http.request.method": method or "_OTHER",
            "http.response.status_code": status,
        }
        if path:
            attributes["url.path"] = path
        if route:
            attributes["http.route"] = route
    if request_id := told.get("request_id", ""):
        attributes["constellation.request_id"] = request_id
    if client_request_id := told.get("client_request_id", ""):
        attributes["constellation.client_request_id"] = client_request_id
    if plan is not None:
        attributes["constellation.account"] = plan.request.account
        attributes["constellation.model"] = plan.request.model
        attributes["constellation.task"] = plan.request.task
        attributes["constellation.stream"] = plan.request.stream
    return name, attributes
