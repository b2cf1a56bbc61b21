"""Entry's Prometheus metrics: every request once, with its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.errors import Internal, RequestError
from libs.common.metrics import Counts
from libs.common.trace_context import TraceContext, read_context
from services.entry.calls import Plan

CLIENT_LEFT: Final = 499  # as nginx counts them
OVERLOADED = (429, 503)
PREFIX: Final = "constellation_entry_"


class Traced(Protocol):
    """What a request is part of, if its spans are wanted."""

    @property
    def context(self) -> TraceContext:
        """Return what its calls carry on."""
        ...


class OfColo:
    """What is counted of every request, in plain integers: look-ups by labels cost more."""

    __slots__ = ("in_flight", "ok")

    def __init__(self) -> None:
        self.in_flight = 0
        self.ok: dict[str, int] = {}  # answered with 200, by task

    def __repr__(self) -> str:
        return f"<OfColo in flight={self.in_flight} ok={self.ok}>"


class Counted:
    """One request while it is answered, with what its front learns of it; a context manager."""

    __slots__ = (
        "began",
        "colo",
        "error",
        "is_over",
        "metrics",
        "of_colo",
        "plan",
        "task",
        "trace",
        "what",
    )

    def __init__(self, metrics: EntryMetrics, colo: str, what: str = "") -> None:
        """`what` is asked, such as a method and a path, for the access log."""
        self.metrics = metrics
        self.what = what
        self.colo = colo
        self.of_colo = metrics.of(colo)
        self.task = ""
        self.error: RequestError | None = None  # of a stream that broke after its 200, too
        self.is_over = False
        self.plan: Plan | None = None  # once there is one
        self.trace: Traced | None = None  # once it has a call, or has ended
        self.began = 0.0 if metrics.log is None else monotonic()

    def told(self) -> dict[str, str]:
        """Return what a front knows of the request, for the access log."""
        return {"what": self.what}

    def caller(self) -> tuple[str, str]:
        """Return the caller's traceparent and tracestate, as they came."""
        return "", ""

    def carried(self, traceparent: str, tracestate: str) -> tuple[str, str]:
        """Return what its calls carry on: the caller's, or our span's under it."""
        context, begin = read_context(traceparent, tracestate), self.metrics.begin_trace
        if begin is not None:
            self.trace = self.trace or begin(context)
            context = self.trace.context
        return ("", "") if context is None else (context.traceparent, context.state)

    def __repr__(self) -> str:
        return f"<Counted {self.colo} {self.task or 'no task'}{' over' if self.is_over else ''}>"

    def __enter__(self) -> Counted:
        self.of_colo.in_flight += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.metrics.end(self, 200)
        else:
            self.metrics.end(self, *how_it_ended(error))


class EntryMetrics(Collector):
    """What the entries of this process have answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.log: Callable[[Counted, int], None] | None = None  # takes the end of each request
        self.begin_trace: Callable[[TraceContext | None], Traced] | None = None
        self.requests = Counts(
            f"{PREFIX}requests",
            "Requests by HTTP status and task; 499: the client left; without a task: no call of a"
            " model, or none yet.",
            ("colo", "status", "task"),
        )
        self.errors = Counts(
            f"{PREFIX}errors",
            "Errors told to clients, in streams that had begun, too, by public code.",
            ("colo", "code"),
        )
        self.refused = Counts(
            f"{PREFIX}refused", "Requests that ended with 429 or 503, by model.", ("colo", "model")
        )
        self.broken = Counts(
            f"{PREFIX}broken_streams",
            "Streams whose instance or server was lost, by their end: continued elsewhere,"
            " whole (nothing was missing any more), lost.",
            ("colo", "end"),
        )
        self.fallbacks = Counts(
            f"{PREFIX}fallbacks",
            "Calls that went on from a model that had no room, or failed, to the next of its"
            " fallbacks.",
            ("colo", "model", "to"),
        )
        self._colos: dict[str, OfColo] = {}
        registry.register(self)

    def of(self, colo: str) -> OfColo:
        """Return what is counted of every request in a colo."""
        found = self._colos.get(colo)
        if found is None:
            found = self._colos[colo] = OfColo()
        return found

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Show every count as it is now."""
        in_flight = Counts(
            f"{PREFIX}in_flight", "Requests being answered.", ("colo",), kind=GaugeMetricFamily
        )
        for colo, of_colo in self._colos.copy().items():
            in_flight[(colo,)] = of_colo.in_flight
        yield self.answered().family()
        for counts in (self.errors, self.refused, self.broken, self.fallbacks, in_flight):
            yield counts.family()

    def answered(self) -> Counts:
        """Return the requests by status and task, those that ended well with the others."""
        requests = self.requests.copied()
        for colo, of_colo in self._colos.copy().items():
            for task, count in of_colo.ok.copy().items():
                requests[colo, 200, task] += count
        return requests

    def request(self, colo: str, what: str = "") -> Counted:
        """Count the request that is answered inside, whatever becomes of it."""
        return Counted(self, colo, what)

    def begin(self, colo: str) -> Counted:
        """Count a request that is answered by callbacks; `end` it, whatever becomes of it."""
        return Counted(self, colo).__enter__()

    def end(self, counted: Counted, status: int, error: RequestError | None = None) -> None:
        """Count how a request was answered; a second end of it counts nothing."""
        if counted.is_over:
            return
        counted.is_over = True
        colo, of_colo = counted.colo, counted.of_colo
        of_colo.in_flight -= 1
        if status == 200:
            of_colo.ok[counted.task] = of_colo.ok.get(counted.task, 0) + 1
        else:
            self.requests[colo, status, counted.task] += 1
        if error is not None:
            counted.error = error
        if counted.error is not None:
            self.errors[colo, counted.error.code] += 1
        if self.log is not None:
            self.log(counted, status)

    def refused_one(self, colo: str, model: str) -> None:
        """Count a request that no colo had room for."""
        self.refused[colo, model] += 1


def how_it_ended(error: BaseException) -> tuple[int, RequestError | None]:
    """Return the status of a request that ended with this, and the error that its client saw."""
    if isinstance(error, RequestError):
        return error.http, error
    if isinstance(error, asyncio.CancelledError | ConnectionError):
        return CLIENT_LEFT, None
    return 500, Internal("") if isinstance(error, Exception) else None
