"""What became of each call: the shard's counters, the metrics, and one event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.common import deadline as deadlines
from libs.common.clock import Clock
from libs.common.envelope import InferRequest
from libs.common.ports import EventSink
from services.server.inference_events import event_of
from services.server.metrics import ServerMetrics
from services.server.records import Ending, Record
from services.server.shards import OwnedShard
from services.server.tokens import TokenCounter

LATE_US = 1_000_000  # who waited so long for a permit counts as late


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Opens a record for each call that reaches a server, and tells of its end."""

    colo: str
    sink: EventSink
    metrics: ServerMetrics
    clock: Clock
    over_unix_socket: bool = False

    def open(self, request: InferRequest, shard: OwnedShard | None) -> Record:
        """Begin the record of a call."""
        now = self.clock.now()
        if shard:
            shard.counters.arrivals += 1
        return Record(
            request=request,
            shard=shard,
            deadline=deadlines.fix(request.time_bounds, now),
            clock=self.clock,
            ended=self.record,
            counter=TokenCounter(shard.model if shard else None),
            task=asyncio.current_task(),
            arrived=now,
            arrived_ms=self.clock.unix_ms(),
            queue_size=shard.turnstile.waiting if shard else 0,
        )

    def record(self, ending: Ending) -> None:
        """Take down how a call ended; never waits, never raises."""
        if ending.shard:
            _count(ending.shard, ending)
        self._measure(ending)
        event = event_of(ending, colo=self.colo, over_unix_socket=self.over_unix_socket)
        self.sink.emit(event)

    def _measure(self, ending: Ending) -> None:
        metrics, error = self.metrics, ending.error
        labels = (self.colo, ending.request.model)
        metrics.requests.labels(*labels, error.http if error else 200).inc()
        if error:
            metrics.errors.labels(*labels, error.code, error.http).inc()
        if turned := _turned(ending):
            metrics.turnstile.labels(*labels, turned).inc()
        metrics.tokens.labels(*labels, "in").inc(ending.usage.tokens_in)
        metrics.tokens.labels(*labels, "out").inc(ending.usage.tokens_out)


def _count(shard: OwnedShard, ending: Ending) -> None:
    if ending.timings.permit_wait_us >= LATE_US:
        shard.counters.waited_1s += 1
    if ending.error is None:
        shard.served(ending.timings.forward_us / 1_000_000)
    elif _turned(ending) == "rejected":
        rejected, source = shard.counters.rejected, ending.request.source_colo
        rejected[source] = rejected.get(source, 0) + 1


def _turned(ending: Ending) -> str:
    """What the turnstile did with the call: leased, queued, rejected, or nothing yet."""
    if ending.lease:
        return "queued" if ending.queued else "leased"
    refused = ending.error is not None and ending.error.status == "RESOURCE_EXHAUSTED"
    return "rejected" if refused else ""
