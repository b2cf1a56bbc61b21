"""The record of one call: measured on its way, ended once, well or badly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from libs.common.clock import Clock
from libs.common.deadline import Deadline
from libs.common.envelope import (
    NO_TIMINGS,
    NO_USAGE,
    InferRequest,
    Outcome,
    Timings,
    Usage,
)
from libs.common.errors import Aborted, Internal, RequestError, StreamLost, Unavailable
from libs.common.ports import Send
from libs.common.prices import neurons, neurons_of_rest
from libs.common.ranking import Place, hops
from libs.eager import Promise
from services.server.shards import OwnedShard
from services.server.tokens import TokenCounter, TokenReader
from services.server.traces import CallTrace
from services.server.turnstile import Lease

log = logging.getLogger(__name__)


class Record:
    """One call on its way; `ended` hears of its end, once, and finds all there is to say."""

    def __init__(
        self,
        request: InferRequest,
        shard: OwnedShard | None,
        tokens: TokenReader | None,
        *,
        deadline: Deadline,
        clock: Clock,
        ended: Callable[[Record], None],
        task: asyncio.Task[object] | None,
        arrived: float,
        trace: CallTrace | None = None,
    ) -> None:
        self.request = request
        self.shard = shard
        self.tokens = tokens
        self.deadline = deadline
        self.clock = clock
        self.ended = ended
        self.task = task
        self.arrived = arrived
        self.arrived_ms = clock.unix_ms()
        self.queue_size = shard.turnstile.queue.size if shard else 0
        self.queued = False
        self.waited_s = 0.0  # in the turnstile
        self.retried = False
        self.cancelled = False
        self.is_lost = False
        self.leased_at = 0.0
        self.first_part_at = 0.0
        self.lease: Lease | None = None
        # Where else it goes, where it has been in vain, and what was said there.
        self.way: Place | None = None
        self.tried: tuple[Place, ...] = ()
        self.refusal: RequestError | None = None
        self.is_told = False  # another server's event tells of it
        self.counter: TokenCounter | None = None
        self.trace = trace  # if somebody wants to see its spans
        # What its end adds. The error's class alone: an error holds its frames, they the record.
        self.is_over = False
        self.error: type[RequestError] | None = None
        self.usage = NO_USAGE
        self.timings = NO_TIMINGS
        self.took_s = 0.0
        self.bytes_out = 0

    def __repr__(self) -> str:
        state = "over" if self.is_over else "running" if self.lease else "waiting"
        return f"<Record {self.request.request_id} {state}>"

    def belongs_to(self, shard: OwnedShard, tokens: TokenReader) -> None:
        """Its shard came to this server after the call."""
        self.shard, self.tokens = shard, tokens
        self.queue_size = shard.turnstile.waiting

    def has_id(self, request_id: str) -> bool:
        """Whether the call goes by this id, ours or the client's."""
        return request_id in (self.request.request_id, self.request.client_request_id)

    def leased(self, lease: Lease) -> float:
        """A permit was got; return the seconds that are left for the first part."""
        self.lease = lease
        self.leased_at = now = self.clock.now()
        return self.deadline.until_first(now)

    def parts(self, payloads: Sequence[bytes]) -> None:
        """Parts of the answer came."""
        if self.counter is None:
            assert self.tokens is not None
            self.first_part_at = self.clock.now()
            self.counter = TokenCounter(self.tokens)
        self.counter.see(payloads)

    def seeing(self, send: Send) -> Send:
        """Return what hands parts on once the record has seen them."""

        def pass_on(payloads: Sequence[bytes]) -> Promise[None] | None:
            self.parts(payloads)
            return send(payloads)

        return pass_on

    def may_go_elsewhere(self, error: Unavailable) -> bool:
        """Whether a call that lost its endpoint gets another: once, if nothing was sent."""
        is_late = self.deadline.until_first(self.clock.now()) <= 0
        return not self.retried and not error.sent and not is_late

    def lose(self) -> None:
        """Stop the call, whose instance has died; its caller gets Unavailable or StreamLost."""
        if self.task and not self.cancelled and not self.is_lost:
            self.is_lost = True
            self.task.cancel()

    def cancel(self) -> None:
        """Stop the call; its caller gets Aborted."""
        if self.task and not self.cancelled:
            self.cancelled = True
            self.task.cancel()

    def answered(self, payload: bytes) -> Outcome:
        """The whole answer came: end well, and say how the call was served."""
        assert self.tokens is not None
        self.first_part_at = self.clock.now()
        self.bytes_out = len(payload)
        self._used(*self.tokens.read(payload))
        return self.done()

    def done(self) -> Outcome:
        """End well, and say how the call was served."""
        shard, lease, visited_colos = self.shard, self.lease, self.request.visited_colos
        assert shard is not None
        assert lease is not None
        self._end(None)
        return Outcome(
            usage=self.usage,
            timings=self.timings,
            serving_colo=shard.colo,
            endpoint=lease.endpoint.address,
            chosen_because=lease.because,
            hops=hops(visited_colos, shard.colo) if visited_colos else 0,
            free_permits=shard.turnstile.room.free,
            queue_length=shard.turnstile.queue.size,
        )

    def passed_on(self, outcome: Outcome) -> Outcome:
        """End well in another place, and say how, with the time and the permits of this one."""
        shard, timings = self.shard, outcome.timings
        self.is_over, self.task = True, None
        self.took_s = self.clock.now() - self.arrived
        before_us = max(0, int(self.took_s * 1_000_000) - timings.queue_us - timings.forward_us)
        return Outcome(
            usage=outcome.usage,
            timings=Timings(
                queue_us=before_us + timings.queue_us,
                permit_wait_us=timings.permit_wait_us,
                forward_us=timings.forward_us,
                first_part_us=timings.first_part_us,
            ),
            serving_colo=outcome.serving_colo,
            endpoint=outcome.endpoint,
            chosen_because=outcome.chosen_because,
            hops=outcome.hops,
            free_permits=shard.turnstile.free if shard else 0,
            queue_length=shard.turnstile.waiting if shard else 0,
        )

    @property
    def tells(self) -> bool:
        """Whether its end is an event: of one that ran here, or that nobody else tells of.

        Of a call that no server runs, the first one tells that it has reached.
        """
        if self.lease is not None:
            return True
        return not self.is_told and (not self.request.visited_colos or self.error is Aborted)

    def failed(self, error: BaseException) -> None:
        """End badly; raises Aborted or what was lost instead of a cancellation that was ours.

        What is no RequestError is a bug, and is logged.
        """
        task = self.task
        if self.is_lost and task and isinstance(error, asyncio.CancelledError):
            task.uncancel()  # the task goes on and answers
            lost = StreamLost if self.first_part_at else Unavailable
            self._end(lost)
            raise lost("the instance has died", sent=True) from error
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._end(Aborted)
            if self.cancelled and task and isinstance(error, asyncio.CancelledError):
                task.uncancel()  # the task goes on and answers
                raise Aborted("the request was cancelled") from error
        elif isinstance(error, RequestError):
            self._end(type(error))
            shard = self.shard
            error.recorded = error.recorded or self.tells
            error.free_permits = shard.turnstile.free if shard else None
            error.queue_length = shard.turnstile.waiting if shard else 0
        else:
            log.error("request %s failed", self.request.request_id, exc_info=error)
            self._end(Internal)

    def _end(self, error: type[RequestError] | None) -> None:
        if self.is_over:
            return
        now, arrived, leased_at = self.clock.now(), self.arrived, self.leased_at
        self.is_over, self.error, self.task = True, error, None
        self.took_s = now - arrived
        forward_us = int((now - leased_at) * 1_000_000) if leased_at else 0
        self.timings = Timings(
            queue_us=int(((leased_at or now) - arrived) * 1_000_000),
            permit_wait_us=int(self.waited_s * 1_000_000),
            forward_us=forward_us,
            first_part_us=int((self.first_part_at - leased_at) * 1_000_000)
            if self.first_part_at
            else forward_us,
        )
        if self.counter is not None:
            self._used(*self.counter.totals())
            self.bytes_out = self.counter.bytes_out
        self.ended(self)

    def _used(self, tokens_in: int, tokens_out: int) -> None:
        assert self.shard is not None
        units, price = self.request.units, self.shard.model.price
        if self.request.continued_from:  # the input counts once, with the attempt that broke
            cost = neurons_of_rest(price, tokens_out=tokens_out)
            self.usage = Usage(tokens_in=0, tokens_out=tokens_out, neurons=cost)
            return
        cost = neurons(price, tokens_in=tokens_in, tokens_out=tokens_out, units=units)
        self.usage = Usage(tokens_in=tokens_in, tokens_out=tokens_out, units=units, neurons=cost)
