"""What became of each call: the shard's counters, the metrics, and one event."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from libs.common import deadline as deadlines
from libs.common.clock import Clock
from libs.common.envelope import InferRequest
from libs.common.errors import RequestError
from libs.common.ports import EventSink
from libs.eager import Turns, turns_of
from services.server.following import Following
from services.server.health import Health
from services.server.inference_events import event_of, event_of_follower
from services.server.inference_spans import tell_spans
from services.server.metrics import ServerMetrics
from services.server.records import Record
from services.server.shards import OwnedShard
from services.server.tokens import TokenReader
from services.server.traces import CallTrace, Traces

log = logging.getLogger(__name__)
LATE_US: Final = 1_000_000  # who waited so long for a permit counts as late
REFUSED: Final = (429, 503)  # with these, entries count a call as refused: it is late already


class Outcomes:
    """Opens a record for each call that reaches a server, and tells of its end.

    Belongs to the loop of its first call.
    """

    __slots__ = (
        "_clock",
        "_colo",
        "_health",
        "_loop",
        "_sink",
        "_tokens",
        "_traces",
        "_turns",
        "metrics",
    )

    def __init__(
        self,
        *,
        colo: str,
        sink: EventSink,
        metrics: ServerMetrics,
        health: Health,
        clock: Clock,
        traces: Traces | None = None,
    ) -> None:
        """`traces` take the spans of calls whose callers want them."""
        self.metrics = metrics
        self._health = health
        self._colo = colo
        self._sink = sink
        self._clock = clock
        self._traces = traces
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns: Turns | None = None
        self._tokens: dict[str, TokenReader] = {}  # by model

    def __repr__(self) -> str:
        return f"<Outcomes {self._colo} to {self._sink!r}>"

    def open(self, request: InferRequest, shard: OwnedShard | None) -> Record:
        """Begin the record of a call."""
        clock = self._clock
        now = clock.now()
        trace: CallTrace | None = None
        if request.traceparent and self._traces is not None:
            trace = self._traces.begin(request, now)
            if trace is not None:
                request = trace.carried_by(request)
        return Record(
            request,
            shard,
            self.arrived(shard, request) if shard is not None else None,
            deadline=deadlines.fix(request.time_bounds, now),
            clock=clock,
            ended=self.ended,
            # To find the running loop costs twice what it costs to find its task.
            task=asyncio.current_task(self._loop or self._start()),
            arrived=now,
            trace=trace,
        )

    def arrived(self, shard: OwnedShard, request: InferRequest) -> TokenReader:
        """Count a call of the shard, and return what reads its tokens."""
        shard.counters.arrivals += 1
        if (source := request.source_colo) != self._colo and source:
            foreign = shard.counters.foreign
            foreign[source] = foreign.get(source, 0) + 1
        tokens = self._tokens.get(shard.model.name)
        if tokens is None or tokens.model is not shard.model:
            tokens = self._tokens[shard.model.name] = TokenReader(shard.model)
        return tokens

    def ended(self, record: Record) -> None:
        """Hear that a call has ended; if it ended well, its answer is sent before it is taken down.

        A failure is taken down at once: what is tried next may depend on it.
        """
        if record.error is not None or self._turns is None:
            self.record(record)
        else:
            self._turns.after(partial(self.record, record))

    def record(self, record: Record) -> None:
        """Take down how a call ended, and its spans; never waits, never raises."""
        if record.error is not None:
            self._failed(record, record.error)
        if record.shard is not None:
            self._count(record, record.shard)
        self._health.ended(record)
        if record.lease is not None or record.tells:
            self._sink.emit(event_of(record, self._colo))
        if record.trace is not None:
            _tell_spans(record, record.trace)

    def _count(self, record: Record, shard: OwnedShard) -> None:
        """Add a call to what its shard counts, in plain integers: look-ups by labels cost more."""
        durations = self.metrics.durations
        tally = shard.tally or durations.tally(shard)
        if record.error is None:
            tally.ok += 1
            if record.queued:
                tally.queued += 1
            shard.served(record.timings.forward_us / 1_000_000)
            if len(shard.turnstile.endpoints) > 1:
                _tell_latency(record, shard)
        if record.timings.permit_wait_us >= LATE_US and not _is_refused(record):
            shard.counters.waited_1s += 1
        durations.took(record)
        # A model may tell anything, and a counter never goes down.
        if (came := record.usage.tokens_in) > 0:
            tally.tokens_in += came
        if (went := record.usage.tokens_out) > 0:
            tally.tokens_out += went

    def followed(self, following: Following) -> None:
        """Take down a call that waited for the answer to another of its idempotency key."""
        metrics, colo, model = self.metrics, self._colo, following.request.model
        error = following.error
        metrics.requests[colo, model, error.http if error is not None else 200] += 1
        if error is not None:
            metrics.errors[colo, model, error.code, error.http] += 1
        self._sink.emit(event_of_follower(following, colo))

    def _failed(self, record: Record, error: type[RequestError]) -> None:
        metrics, colo, model = self.metrics, self._colo, record.request.model
        metrics.requests[colo, model, error.http] += 1
        metrics.errors[colo, model, error.code, error.http] += 1
        turned = _turned(record, error)
        if turned:
            metrics.turnstile[colo, model, turned] += 1
        if record.shard and turned == "rejected":
            rejected, source = record.shard.counters.rejected, record.request.source_colo
            rejected[source] = rejected.get(source, 0) + 1

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.get_running_loop()
        self._turns = turns_of(loop)
        return loop


def _tell_spans(record: Record, trace: CallTrace) -> None:
    try:
        tell_spans(record, trace)
    except Exception:  # a bug here must not become the call's
        log.exception("the spans of %s are lost", record.request.request_id)


def _tell_latency(record: Record, shard: OwnedShard) -> None:
    """Tell the endpoint how quick it was: to the first part, for that depends least on the call."""
    lease, timings = record.lease, record.timings
    if lease is not None:
        lease.endpoint.latency.seen(
            timings.first_part_us / 1_000_000,
            now=record.leased_at + timings.forward_us / 1_000_000,
            memory_s=shard.turnstile.preferences.latency_s,
        )


def _is_refused(record: Record) -> bool:
    return record.error is not None and record.error.http in REFUSED


def _turned(record: Record, error: type[RequestError]) -> str:
    """What the turnstile did with a call that failed: leased, queued, rejected, or nothing yet."""
    if record.lease:
        return "queued" if record.queued else "leased"
    return "rejected" if error.status == "RESOURCE_EXHAUSTED" else ""
