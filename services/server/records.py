"""The record of one call: measured on its way, ended once, well or badly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec import Struct

from libs.common.clock import Clock
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest, Outcome, Timings, Usage
from libs.common.errors import Aborted, Internal, RequestError, Unavailable
from libs.common.prices import neurons
from services.server.shards import OwnedShard
from services.server.tokens import TokenCounter
from services.server.turnstile import Lease

log = logging.getLogger(__name__)


class Ending(Struct, frozen=True, kw_only=True, gc=False):
    """All that there is to say of a call that has ended."""

    request: InferRequest
    shard: OwnedShard | None
    lease: Lease | None
    error: RequestError | None
    usage: Usage
    timings: Timings
    arrived_ms: int
    took_s: float
    first_token_s: float
    queue_size: int
    queued: bool
    bytes_out: int


class Record(Struct, kw_only=True, eq=False):
    """One call on its way; `ended` hears of its end, once."""

    request: InferRequest
    shard: OwnedShard | None
    deadline: Deadline
    clock: Clock
    ended: Callable[[Ending], None]
    counter: TokenCounter
    task: asyncio.Task[object] | None
    arrived: float
    arrived_ms: int
    queue_size: int
    queued: bool = False
    retried: bool = False
    cancelled: bool = False
    leased_at: float = 0.0
    first_part_at: float = 0.0
    lease: Lease | None = None
    is_over: bool = False

    def has_id(self, request_id: str, by_client_id: bool) -> bool:
        """Whether the call goes by this id, ours or the client's."""
        request = self.request
        return request_id == (request.client_request_id if by_client_id else request.request_id)

    def now_leased(self, lease: Lease) -> None:
        """A permit was got."""
        self.lease = lease
        self.leased_at = self.clock.now()

    def parts(self, payloads: Sequence[bytes]) -> None:
        """An answer, or parts of it, came."""
        if not self.first_part_at:
            self.first_part_at = self.clock.now()
        self.counter.see(payloads)

    def may_go_elsewhere(self, error: Unavailable) -> bool:
        """Whether a call that lost its endpoint gets another: once, if nothing was sent."""
        return not self.retried and not error.sent

    def cancel(self) -> None:
        """Stop the call; its caller gets Aborted."""
        if self.task and not self.cancelled:
            self.cancelled = True
            self.task.cancel()

    def done(self, colo: str) -> Outcome:
        """End well, and say how the call was served."""
        usage, timings = self._end(None)
        return Outcome(
            usage=usage,
            timings=timings,
            serving_colo=colo,
            endpoint=self.lease.endpoint.address if self.lease else "",
            chosen_because=self.lease.because if self.lease else "",
            hops=len(self.request.visited_colos),
            free_permits=self.shard.turnstile.free if self.shard else 0,
            queue_length=self.shard.turnstile.waiting if self.shard else 0,
        )

    def failed(self, error: BaseException) -> BaseException:
        """End badly, and return what to raise; what is no RequestError is a bug and is logged."""
        reason = self._reason(error)
        self._end(reason)
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

    def _end(self, error: RequestError | None) -> tuple[Usage, Timings]:
        now = self.clock.now()
        usage, timings = self._usage(), self._timings(now)
        if not self.is_over:
            self.is_over = True
            self.ended(
                Ending(
                    request=self.request,
                    shard=self.shard,
                    lease=self.lease,
                    error=error,
                    usage=usage,
                    timings=timings,
                    arrived_ms=self.arrived_ms,
                    took_s=now - self.arrived,
                    first_token_s=max(0.0, self.first_part_at - self.arrived),
                    queue_size=self.queue_size,
                    queued=self.queued,
                    bytes_out=self.counter.bytes_out,
                )
            )
        return usage, timings

    def _usage(self) -> Usage:
        if self.shard is None or not self.first_part_at:
            return Usage()
        tokens_in, tokens_out = self.counter.totals()
        units, price = self.request.units, self.shard.model.price
        cost = neurons(price, tokens_in=tokens_in, tokens_out=tokens_out, units=units)
        return Usage(tokens_in=tokens_in, tokens_out=tokens_out, units=units, neurons=cost)

    def _timings(self, now: float) -> Timings:
        waited_us = _us((self.leased_at or now) - self.arrived)
        if not self.leased_at:
            return Timings(queue_us=waited_us, permit_wait_us=waited_us)
        return Timings(
            queue_us=waited_us,
            permit_wait_us=waited_us if self.queued else 0,
            forward_us=_us(now - self.leased_at),
            first_part_us=_us((self.first_part_at or now) - self.leased_at),
        )


def _us(seconds: float) -> int:
    return max(0, int(seconds * 1_000_000))
