"""Traced calls on their way through a server: under which ids their spans will be told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from libs.common.envelope import InferRequest
from libs.common.errors import RequestError
from libs.common.ranking import Place
from libs.common.spans import CLIENT, INTERNAL, Attribute, Attributes, Span, Spans, WallClock
from libs.common.trace_context import TraceContext, new_span_id, read_context
from services.server.errors import ended_with

MOST_KNOWN: Final = 1024  # models, endpoints, and how they are called


class Traces:
    """Begins the traces of one server's calls, and takes their spans."""

    def __init__(
        self,
        spans: Spans,
        *,
        server: str,
        colo: str,
        rng: random.Random | None = None,
        now: Callable[[], float] = time.monotonic,
        wall: WallClock | None = None,
    ) -> None:
        self._spans = spans
        self._rng = rng or random.Random()
        self._wall = wall or WallClock()
        self.now = now
        self.known: dict[tuple[object, ...], Attributes] = {}  # what spans have in common
        self._where: dict[str, Attribute] = {
            "constellation.server": server,
            "constellation.colo": colo,
        }

    def __repr__(self) -> str:
        return f"<Traces of {self._where['constellation.server']} to {self._spans!r}>"

    def begin(self, request: InferRequest, arrived: float) -> CallTrace | None:
        """Return the trace of a call; None where none is wanted."""
        parent = read_context(request.traceparent, request.tracestate)
        if parent is None or not parent.is_sampled:
            return None
        return CallTrace(self, parent, parent.at(self.new_id()), arrived)

    def learn(self, key: tuple[object, ...], values: dict[str, Attribute]) -> Attributes:
        """Return what all spans of this key have in common; what is empty is left out."""
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
        self.known[key] = made = Attributes({**values, **self._where})
        return made

    def new_id(self) -> str:
        """Return the id of a new span."""
        return new_span_id(self._rng)

    def emit(
        self,
        name: str,
        context: TraceContext,
        parent: TraceContext,
        *,
        kind: int,
        began: float,
        ended: float,
        attributes: dict[str, Attribute],
        shared: Attributes,
        error: type[RequestError] | None,
    ) -> None:
        """Hand on a span that has ended; `began` and `ended` are monotonic seconds."""
        if error is not None:
            attributes["error.type"] = error.reason
            attributes["constellation.error_code"] = error.code
        self._spans.emit(
            Span(
                name=name,
                trace_id=context.trace_id,
                span_id=context.span_id,
                parent_id=parent.span_id,
                state=context.state,
                kind=kind,
                began_ns=self._wall.unix_ns(began),
                ended_ns=self._wall.unix_ns(ended),
                attributes=attributes,
                shared=shared,
                has_failed=error is not None,
            )
        )


class CallTrace:
    """One traced call: its parent's span, and the id of the one under which a backend runs it."""

    __slots__ = ("backend", "parent", "told_until", "traces")

    def __init__(
        self, traces: Traces, parent: TraceContext, backend: TraceContext, arrived: float
    ) -> None:
        self.traces = traces
        self.parent = parent
        self.backend = backend
        self.told_until = arrived  # what was before has its spans

    def __repr__(self) -> str:
        return f"<CallTrace {self.parent.traceparent}>"

    def carried_by(self, request: InferRequest) -> InferRequest:
        """Return the call as the backend gets it, under the span that tells of it there."""
        carrier = request.copy()
        carrier.traceparent = self.backend.traceparent
        return carrier

    def queued(
        self,
        until: float,
        error: type[RequestError] | None,
        attributes: dict[str, Attribute],
        shared: Attributes,
        *,
        is_last: bool,
    ) -> None:
        """Tell of the wait for a permit, which ended with one or with an error.

        Where it is the last of a call, its event names this span.
        """
        self.traces.emit(
            "queue",
            self.backend if is_last else self.parent.at(self.traces.new_id()),
            self.parent,
            kind=INTERNAL,
            began=self.told_until,
            ended=until,
            attributes=attributes,
            shared=shared,
            error=error,
        )
        self.told_until = until

    def ran(
        self,
        name: str,
        began: float,
        ended: float,
        error: type[RequestError] | None,
        attributes: dict[str, Attribute],
        shared: Attributes,
    ) -> None:
        """Tell of the call in the backend."""
        self.traces.emit(
            name,
            self.backend,
            self.parent,
            kind=CLIENT,
            began=began,
            ended=ended,
            attributes=attributes,
            shared=shared,
            error=error,
        )

    def hop(self, request: InferRequest, place: Place, *, has_waited: bool) -> Hop:
        """Return the block in which the request is with another server, under a span of ours."""
        traces = self.traces
        if has_waited:
            shared = traces.learn((request.model,), {"constellation.model": request.model})
            self.queued(traces.now(), None, {}, shared, is_last=False)
        context = self.parent.at(traces.new_id())
        request.traceparent = context.traceparent
        return Hop(self, traces, context, place)


class Hop:
    """A call while another server has it."""

    __slots__ = ("_began", "_context", "_place", "_trace", "_traces")

    def __init__(
        self, trace: CallTrace, traces: Traces, context: TraceContext, place: Place
    ) -> None:
        self._trace = trace
        self._traces = traces
        self._context = context
        self._place = place
        self._began = traces.now()

    def __repr__(self) -> str:
        return f"<Hop to {self._place}>"

    def __enter__(self) -> Hop:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell of it."""
        ended = self._traces.now()
        self._traces.emit(
            "forward",
            self._context,
            self._trace.parent,
            kind=CLIENT,
            began=self._began,
            ended=ended,
            attributes={},
            shared=self._traces.learn(
                ("hop", self._place.server),
                {
                    "server.address": self._place.address,
                    "constellation.to.colo": self._place.colo,
                    "constellation.to.server": self._place.server,
                },
            ),
            error=ended_with(kind),
        )
        self._trace.told_until = ended


class NoHop:
    """The same for a call without a trace."""

    __slots__ = ()

    def __enter__(self) -> NoHop:
        return self

    def __exit__(self, *_: object) -> None:
        """Tell nobody."""


NO_HOP: Final = NoHop()
