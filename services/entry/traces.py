"""The spans of requests at entry: begun under the caller's, told once the answer is out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from libs.common.envelope import InferRequest
from libs.common.errors import RequestError
from libs.common.spans import SERVER, Attribute, Attributes, Span, Spans, WallClock
from libs.common.trace_context import TraceContext, new_span_id, new_trace_id, read_context
from services.entry.metrics import CLIENT_LEFT, Counted, EntryMetrics

SHARE_BITS: Final = 64  # of a trace's id: by these all who sample by share decide alike
BINDINGS: Final = "constellation.v1.BindingService/"
GRPC: Final = "gRPC "
ACCOUNTS: Final = "/client/v4/accounts/"
MOST_KNOWN: Final = 1024  # paths, ends, accounts and models
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
        self._known: dict[tuple[object, ...], tuple[str, Attributes]] = {}
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
        told, error = counted.told(), counted.error
        name, shared = self._shared(counted, told["what"], status)
        attributes: dict[str, Attribute] = {}
        if request_id := told.get("request_id", ""):
            attributes["constellation.request_id"] = request_id
        if client_request_id := told.get("client_request_id", ""):
            attributes["constellation.client_request_id"] = client_request_id
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
                shared=shared,
                has_failed=has_failed(status, error),
            )
        )

    def _shared(self, counted: Counted, what: str, status: int) -> tuple[str, Attributes]:
        """Return a span's name, and what it has in common with others of its kind."""
        error, plan = counted.error, counted.plan
        request = plan.request if plan is not None else None
        key: tuple[object, ...] = (what, status, type(error))
        if request is not None:
            key = (*key, request.account, request.model, request.stream)
        known = self._known.get(key)
        if known is not None:
            return known
        values = _asked(what, status, error) | _planned(request) | self._where
        if error is not None:
            values |= {"error.type": error.reason, "constellation.error_code": error.code}
        elif status == CLIENT_LEFT:
            values["error.type"] = "client_left"
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[key] = made = _name_of(what), Attributes(values)
        return made


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


def _name_of(what: str) -> str:
    """Return a span's name: few names, however many paths."""
    if what.startswith(GRPC):
        return BINDINGS + what.removeprefix(GRPC)
    method, _, path = what.partition(" ")
    return f"{method} {route_of(path)}".strip() or "HTTP"


def _asked(what: str, status: int, error: RequestError | None) -> dict[str, Attribute]:
    """Return what is said of the front and of what was asked there; what is empty is left out."""
    if what.startswith(GRPC):
        return {
            "rpc.system": "grpc",
            "rpc.method": _name_of(what),
            "rpc.response.status_code": error.status if error is not None else "OK",
        }
    method, _, path = what.partition(" ")
    return {
        "http.request.method": method or "_OTHER",
        "http.response.status_code": status,
        "url.path": path,
        "http.route": route_of(path),
    }


def _planned(request: InferRequest | None) -> dict[str, Attribute]:
    """Return what is said of a call, once there is one."""
    if request is None:
        return {}
    return {
        "constellation.account": request.account,
        "constellation.model": request.model,
        "constellation.task": request.task,
        "constellation.stream": request.stream,
    }
