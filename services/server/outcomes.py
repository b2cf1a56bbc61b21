"""What became of each call: the shard's counters, the metrics, and one event."""

from __future__ import annotations

import asyncio

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


class Outcomes:
    """Opens a record for each call that reaches a server, and tells of its end."""

    __slots__ = ("_clock", "_colo", "_over_unix_socket", "_sink", "metrics")

    def __init__(
        self,
        *,
        colo: str,
        sink: EventSink,
        metrics: ServerMetrics,
        clock: Clock,
        over_unix_socket: bool = False,
    ) -> None:
        self.metrics = metrics
        self._colo = colo
        self._sink = sink
        self._clock = clock
        self._over_unix_socket = over_unix_socket

    def __repr__(self) -> str:
        return f"<Outcomes {self._colo} to {self._sink!r}>"

    def open(self, request: InferRequest, shard: OwnedShard | None) -> Record:
        """Begin the record of a call."""
        clock = self._clock
        now = clock.now()
        if shard:
            shard.counters.arrivals += 1
        return Record(
            request=request,
            shard=shard,
            deadline=deadlines.fix(request.time_bounds, now),
            clock=clock,
            ended=self.record,
            counter=TokenCounter(shard.model if shard else None),
            task=asyncio.current_task(),
            arrived=now,
            arrived_ms=clock.unix_ms(),
            queue_size=shard.turnstile.waiting if shard else 0,
        )

    def record(self, ending: Ending) -> None:
        """Take down how a call ended; never waits, never raises."""
        if ending.shard:
            _count(ending.shard, ending)
        self._measure(ending)
        self._sink.emit(event_of(ending, colo=self._colo, over_unix_socket=self._over_unix_socket))

    def _measure(self, ending: Ending) -> None:
        metrics, colo, model = self.metrics, self._colo, ending.request.model
        if (error := ending.error) is None:
            metrics.requests[colo, model, 200] += 1
        else:
            metrics.requests[colo, model, error.http] += 1
            metrics.errors[colo, model, error.code, error.http] += 1
        if turned := _turned(ending):
            metrics.turnstile[colo, model, turned] += 1
        came, went = ending.usage.tokens_in, ending.usage.tokens_out
        # A model may tell anything, and a counter never goes down.
        metrics.tokens[colo, model, "in"] += came if came > 0 else 0
        metrics.tokens[colo, model, "out"] += went if went > 0 else 0


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
