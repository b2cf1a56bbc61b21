"""What became of each call: its timings, its usage, one event, and the counters."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from libs.common import deadline as deadlines
from libs.common.clock import Clock
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest, Outcome, Timings, Usage
from libs.common.errors import Aborted, Internal, RequestError, Unavailable
from libs.common.events.values import Flag, InferenceEvent
from libs.common.ports import EventSink
from libs.common.prices import neurons
from services.server.metrics import ServerMetrics
from services.server.shards import OwnedShard
from services.server.tokens import TokenCounter
from services.server.turnstile import Lease

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Opens a record for each call that reaches a server."""

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
            outcomes=self,
            request=request,
            shard=shard,
            deadline=deadlines.fix(request.time_bounds, now),
            arrived=now,
            arrived_ms=self.clock.unix_ms(),
            queue_size=shard.turnstile.waiting if shard else 0,
            counter=TokenCounter(shard.model) if shard else None,
            task=asyncio.current_task(),
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One call on its way; ends once, in `done` or in `failed`, and then is an event."""

    outcomes: Outcomes
    request: InferRequest
    shard: OwnedShard | None
    deadline: Deadline
    arrived: float
    arrived_ms: int
    queue_size: int
    counter: TokenCounter | None
    queued: bool = False
    retried: bool = False
    leased_at: float = 0.0
    first_part_at: float = 0.0
    lease: Lease | None = None
    task: asyncio.Task[object] | None = None
    cancelled: bool = False
    ended: bool = False

    def now_leased(self, lease: Lease) -> None:
        """A permit was got."""
        self.lease = lease
        self.leased_at = self.outcomes.clock.now()
        self._turned("queued" if self.queued else "leased")

    def part(self, payload: bytes) -> None:
        """An answer, or a part of it, came."""
        if not self.first_part_at:
            self.first_part_at = self.outcomes.clock.now()
        if self.counter:
            self.counter.see(payload)

    def done(self) -> Outcome:
        """End well: record, and say how it was served."""
        now = self.outcomes.clock.now()
        usage, timings = self._usage(), self._timings(now)
        if self.shard:
            self.shard.served(now - self.leased_at)
        self._end(None, usage, timings, now)
        endpoint = self.lease.endpoint.address if self.lease else ""
        return Outcome(
            usage=usage,
            timings=timings,
            serving_colo=self.outcomes.colo,
            endpoint=endpoint,
            chosen_because=self.lease.because if self.lease else "",
            hops=len(self.request.visited_colos),
            free_permits=self.shard.turnstile.free if self.shard else 0,
            queue_length=self.shard.turnstile.waiting if self.shard else 0,
        )

    def has_id(self, request_id: str, by_client_id: bool) -> bool:
        """Whether the call goes by this id, ours or the client's."""
        request = self.request
        return request_id == (request.client_request_id if by_client_id else request.request_id)

    def cancel(self) -> None:
        """Stop the call; its caller gets Aborted."""
        if self.task and not self.cancelled:
            self.cancelled = True
            self.task.cancel()

    def failed(self, error: BaseException) -> BaseException:
        """End badly, and return what to raise; what is no RequestError is a bug and is logged."""
        reason = self._reason(error)
        self._record_failure(reason)
        if isinstance(error, asyncio.CancelledError) and self.cancelled and self.task:
            self.task.uncancel()  # it was ours: the task goes on and answers
            return reason
        return error

    def _reason(self, error: BaseException) -> RequestError:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return Aborted("the request was cancelled" if self.cancelled else "the caller left")
        if isinstance(error, RequestError):
            return error
        log.error("request %s failed", self.request.request_id, exc_info=error)
        return Internal("internal error")

    def _record_failure(self, error: RequestError) -> None:
        now = self.outcomes.clock.now()
        if not self.lease and error.status == "RESOURCE_EXHAUSTED" and self.shard:
            rejected, source = self.shard.counters.rejected, self.request.source_colo
            rejected[source] = rejected.get(source, 0) + 1
            self._turned("rejected")
        self._end(error, self._usage(), self._timings(now), now)

    def _turned(self, outcome: str) -> None:
        metrics = self.outcomes.metrics.turnstile
        metrics.labels(self.outcomes.colo, self.request.model, outcome).inc()

    def _end(self, error: RequestError | None, usage: Usage, timings: Timings, now: float) -> None:
        if self.ended:
            return
        self.ended = True
        if self.shard and timings.permit_wait_us >= 1_000_000:
            self.shard.counters.waited_1s += 1
        self._count(error, usage)
        self.outcomes.sink.emit(self._event(error, usage, timings, now))

    def _count(self, error: RequestError | None, usage: Usage) -> None:
        metrics, labels = self.outcomes.metrics, (self.outcomes.colo, self.request.model)
        metrics.requests.labels(*labels, error.http if error else 200).inc()
        if error:
            metrics.errors.labels(*labels, error.code, error.http).inc()
        metrics.tokens.labels(*labels, "in").inc(usage.tokens_in)
        metrics.tokens.labels(*labels, "out").inc(usage.tokens_out)

    def _usage(self) -> Usage:
        if self.shard is None or self.counter is None or not self.first_part_at:
            return Usage()
        tokens_in, tokens_out = self.counter.totals()
        units, price = self.request.units, self.shard.model.price
        cost = neurons(price, tokens_in=tokens_in, tokens_out=tokens_out, units=units)
        return Usage(tokens_in=tokens_in, tokens_out=tokens_out, units=units, neurons=cost)

    def _timings(self, now: float) -> Timings:
        waited = (self.leased_at or now) - self.arrived
        if not self.leased_at:
            return Timings(queue_us=_us(waited), permit_wait_us=_us(waited))
        first = (self.first_part_at or now) - self.leased_at
        return Timings(
            queue_us=_us(waited),
            permit_wait_us=_us(waited) if self.queued else 0,
            forward_us=_us(now - self.leased_at),
            first_part_us=_us(first),
        )

    def _to_first_token_ms(self) -> float:
        return (self.first_part_at - self.arrived) * 1000 if self.first_part_at else 0.0

    def _flags(self, error: RequestError | None) -> Flag:
        request, model = self.request, self.shard.model if self.shard else None
        external = self.lease is not None and self.lease.endpoint.external
        flags = {
            Flag.STREAMED: request.stream,
            Flag.BETA_MODEL: model is not None and model.listing.beta,
            Flag.EXTERNAL_ENDPOINT: external,
            Flag.QUEUED_IN_COLO: self.queued,
            Flag.UNIX_SOCKET: self.outcomes.over_unix_socket,
            Flag.CANCELLED: isinstance(error, Aborted),
            Flag.FORWARDED: bool(request.visited_colos),
            Flag.BACKGROUND: request.background,
        }
        return Flag(sum(flag for flag, is_set in flags.items() if is_set))

    def _event(
        self, error: RequestError | None, usage: Usage, timings: Timings, now: float
    ) -> InferenceEvent:
        request, endpoint = self.request, self.lease.endpoint if self.lease else None
        return InferenceEvent(
            account_id=request.account,
            model_id=request.model,
            request_id=request.request_id,
            timestamp_ms=self.arrived_ms,
            task=request.task,
            finetune=request.finetune,
            adapter=request.adapter,
            request_source=request.request_source,
            client_request_id=request.client_request_id,
            attempt=request.attempt,
            continued_from=request.continued_from,
            traceparent=request.traceparent,
            request_time_ms=(now - self.arrived) * 1000,
            inference_time_ms=timings.forward_us / 1000,
            queuing_time_ms=timings.queue_us / 1000,
            time_to_first_token=self._to_first_token_ms() if request.stream else 0.0,
            queue_us=timings.queue_us,
            permit_wait_us=timings.permit_wait_us,
            forward_us=timings.forward_us,
            first_part_us=timings.first_part_us,
            neurons=usage.neurons,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            input_characters=request.units.input_characters,
            pixels=request.units.pixels,
            steps=request.units.steps,
            audio_seconds=request.units.audio_seconds,
            bytes_in=request.bytes_in,
            bytes_out=self.counter.bytes_out if self.counter else 0,
            error_code=error.code if error else 0,
            http_status=error.http if error else 200,
            flags=self._flags(error),
            colo_id=self.outcomes.colo,
            source_colo_id=request.source_colo,
            visited_colos=request.visited_colos,
            hops=len(request.visited_colos),
            model_container_id=endpoint.instance if endpoint else "",
            endpoint=endpoint.address if endpoint else "",
            chosen_because=self.lease.because if self.lease else "",
            local_queue_size=self.queue_size,
            cost=request.cost,
            priority=request.priority,
            shard=request.shard,
            shard_epoch=request.shard_epoch,
        )


def may_retry(record: Record, error: Unavailable) -> bool:
    """Whether a call that lost its endpoint gets another: once, and only if nothing was sent."""
    return not record.retried and not error.sent


def _us(seconds: float) -> int:
    return max(0, int(seconds * 1_000_000))
