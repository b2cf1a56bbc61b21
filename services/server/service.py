"""The server's one sentence: lease a permit, forward to its endpoint, record what became of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Final

from libs.common.clock import Clock
from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.errors import (
    ModelStarting,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    ServerLost,
    Unavailable,
)
from libs.common.ports import Inference, Send
from libs.common.world import World
from libs.common.world_map import Report, Resource, Server, Shard, ShardLoad, shard_key
from services.server.booting import boot_left_s
from services.server.following import Followers
from services.server.forwarding import Forwarding, Settings, expecting, honest
from services.server.idempotency import KEPT, Idempotency, KeptLimits
from services.server.losses import Losses
from services.server.outcomes import Outcomes
from services.server.ports import Answer, Backend
from services.server.preferences import USUAL, Preferences
from services.server.records import Record
from services.server.shards import OwnedShard, Shards
from services.server.turnstile import Lease

AT_ONCE_S: Final = 0.001  # who was refused so soon has not waited
CATCH_UP_S: Final = 0.5  # for a change of owners that a caller has heard of, to come here, too
NEAR: Final = Settings()


def nowhere(address: str) -> Inference:
    """Connect to no other server."""
    raise ServerLost(f"{address} is not to be reached from here")


class InferenceServer:
    """Implements `libs.common.ports.Inference` for the shards it owns."""

    def __init__(
        self,
        *,
        me: Server,
        world: World,
        backends: Mapping[str, Backend],
        outcomes: Outcomes,
        clock: Clock,
        rng: random.Random,
        losses: Losses,
        preferences: Preferences = USUAL,
        connections: Callable[[str], Inference] = nowhere,
        forwarding: Settings = NEAR,
        kept: KeptLimits = KEPT,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """Forward over `connections`; call `wake` when there is something to report at once."""
        self.me = me
        self.shards = Shards(
            server=me.name,
            colo=me.colo,
            world=world,
            rng=rng,
            preferences=preferences,
            now=clock.now,
        )
        self._running: set[Record] = set()
        self._backends = backends
        self._outcomes = outcomes
        self._clock = clock
        self.losses = losses
        self._killers = losses.killers
        self._idempotency = Idempotency(
            kept, clock=clock, shards=self.shards, followers=Followers(outcomes.followed, clock)
        )
        self._world = world
        self._wake = wake
        self._forwarding = Forwarding(
            server=me.name,
            colo=me.colo,
            world=world,
            connections=connections,
            metrics=outcomes.metrics,
            clock=clock,
            settings=forwarding,
        )
        world.listen(lambda _: self._sync())
        self._sync()  # with what is there already: without control, nothing more may come
        outcomes.metrics.watch(lambda: self.shards)

    def __repr__(self) -> str:
        return f"<InferenceServer {self.me.name} in_flight={self.in_flight} {self.shards!r}>"

    async def infer(self, request: InferRequest) -> InferReply:
        """Run the request and return its one answer."""
        if request.idempotency_key:
            return await self._idempotency.infer(request, self.infer)
        record = self._open(request)
        request = record.request
        answer: Answer | None = None
        try:
            while answer is None:
                shard = record.shard
                lease = shard.turnstile.try_lease(request) if shard is not None else None
                if lease is None and (lease := await self._queue(record)) is None:
                    reply = await self._forwarding.infer(record)
                    if reply is not None:
                        return reply
                    continue
                with lease:
                    shard = record.shard
                    assert shard is not None
                    left = record.leased(lease)
                    backend = self._backends[shard.model.backend.kind]
                    try:
                        answer = await backend.infer(
                            lease.endpoint, shard.model, request, timeout_s=left
                        )
                    except Unavailable as error:
                        self.losses.met(record, lease, error, self._running)
            if self._killers.suspects:
                self._killers.acquit(request)
            return InferReply(
                payload=answer.payload,
                content_type=answer.content_type,
                outcome=record.answered(answer.payload),
            )
        except BaseException as error:
            record.failed(error)
            raise
        finally:
            self._close(record)

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        """Run the request and hand on its parts; the permit lives as long as the stream."""
        if request.idempotency_key:
            return await self._idempotency.stream(request, send, self.stream)
        record = self._open(request)
        request = record.request
        pass_on = record.seeing(send)
        is_whole = False
        try:
            while not is_whole:
                shard = record.shard
                lease = shard.turnstile.try_lease(request) if shard is not None else None
                if lease is None and (lease := await self._queue(record)) is None:
                    outcome = await self._forwarding.stream(record, send)
                    if outcome is not None:
                        return outcome
                    continue
                with lease:
                    shard = record.shard
                    assert shard is not None
                    record.leased(lease)
                    backend = self._backends[shard.model.backend.kind]
                    try:
                        await backend.stream(
                            lease.endpoint, shard.model, request, pass_on, deadline=record.deadline
                        )
                        is_whole = True
                    except Unavailable as error:
                        self.losses.met(record, lease, error, self._running)
            if self._killers.suspects:
                self._killers.acquit(request)
            return record.done()
        except BaseException as error:
            record.failed(error)
            raise
        finally:
            self._close(record)

    @property
    def in_flight(self) -> int:
        """Calls that wait or run here."""
        return len(self._running)

    async def cancel(self, *, account: str, request_id: str) -> Sequence[str]:
        """Cancel the calls of an account that have this id, and return our ids of them."""
        found = [
            record
            for record in self._running
            if record.request.account == account and record.has_id(request_id)
        ]
        for record in found:
            record.cancel()
        waiting = self._idempotency.cancel(account=account, request_id=request_id)
        return [*[record.request.request_id for record in found], *waiting]

    def report(self) -> Report:
        """Say which shards there are here and how full they are."""
        loads = self._loads()
        for shard, load in zip(self.shards, loads, strict=True):
            shard.told_free = load.free > 0
        resources: tuple[Resource, ...] = (self.me, *loads)
        return Report(kind="server", name=self.me.name, colo=self.me.colo, resources=resources)

    def listens_at(self, address: str) -> None:
        """Say from now on where this server is reached."""
        self.me = replace(self.me, address=address)

    def drain(self) -> None:
        """Say from now on that this server is leaving; its shards will move."""
        self.me = replace(self.me, draining=True)
        self._wake()

    @property
    def has_heirs(self) -> bool:
        """Whether control can give the shards to another server."""
        servers = self._world.table(Server).values()
        me = self.me
        return any(s.colo == me.colo and s.name != me.name and not s.draining for s in servers)

    @property
    def owns_shards(self) -> bool:
        """Whether shards are still waiting for another owner."""
        return any(True for _ in self.shards)

    def hand_over(self) -> None:
        """Lease no more: who waits, and who comes from now on, is forwarded."""
        self.shards.leave()

    def _loads(self) -> list[ShardLoad]:
        name, epoch = self.me.name, self.me.boot_epoch
        return [each.load(server=name, boot_epoch=epoch) for each in self.shards]

    def _open(self, request: InferRequest) -> Record:
        shard = self.shards.find(request.model, request.shard)
        if shard is not None and request.shard_epoch > shard.epoch:
            shard = None  # it has an owner of whom we have not heard
        record = self._outcomes.open(request, shard)
        if self._killers.suspects:
            try:
                self.losses.refuse_killer(record)
            except RequestError as error:
                record.failed(error)
                raise
        self._running.add(record)
        return record

    def _close(self, record: Record) -> None:
        self._running.discard(record)
        shard = record.shard
        if shard is not None and not shard.told_free and shard.turnstile.free:
            shard.told_free = True  # once, until the next report
            self._wake()

    def _sync(self) -> None:
        has_new = self.shards.sync()
        if has_new or any(each.told_free != (each.turnstile.free > 0) for each in self.shards):
            self._wake()  # what is new here, or has its first permits, callers should know at once
        for each in self.shards:
            turnstile = each.turnstile
            if (
                turnstile.waiting
                and not turnstile.permits
                and self._forwarding.has_room(each.model.name)
            ):
                self._let_go(each)

    def _let_go(self, shard: OwnedShard) -> None:
        """Send calls on that wait where no instance is; who would be taken nowhere waits on."""
        going = [
            record.request
            for record in self._running
            if record.shard is shard and self._forwarding.may_leave(record)
        ]
        ids = {id(each) for each in going}
        error = OutOfCapacity("no instance here, but elsewhere")
        shard.turnstile.close(error, lambda request: id(request) in ids)

    async def _queue(self, record: Record) -> Lease | None:
        """Wait for a permit; None for a call that is to be forwarded, along its `way`."""
        wait_ms, request = inf, record.request
        try:
            if (shard := record.shard) is None:
                shard = await self._catch_up(record)
                if (lease := shard.turnstile.try_lease(request)) is not None:
                    return lease
            if shard.told_free and not shard.turnstile.free:
                shard.told_free = False
                self._wake()
            wait_ms = 1000 * shard.expected_wait_s(request)
            if request.reject_if_busy:
                return self._at_once(shard, request)
            if record.refusal is None and self._forwarding.is_better(record, wait_ms):
                return None
            return await self._wait(shard, record)
        except (OutOfCapacity, ServerLost) as why:
            self._must_leave(record, why, wait_ms)
            return None

    def _must_leave(self, record: Record, why: RequestError, wait_ms: float) -> None:
        """Set the `way` of a call that cannot stay; raises what is to be said if there is none."""
        try:
            self._forwarding.must_leave(record, why, wait_ms)
        except OutOfCapacity:
            shard = record.shard
            if record.request.reject_if_busy and shard is not None and _is_starting(shard):
                raise _starting(shard, self._boot_left_s(shard)) from None
            raise

    def _at_once(self, shard: OwnedShard, request: InferRequest) -> Lease:
        """Lease to a call that never waits, if what is free is for none of those who do."""
        lease = shard.turnstile.pass_by(request)
        if lease is not None:
            return lease
        if not shard.turnstile.permits:
            self._wake()
        raise OutOfCapacity("no permit is free")

    async def _wait(self, shard: OwnedShard, record: Record) -> Lease:
        """Wait in line; what went wrong says when to try again."""
        request, began = record.request, self._clock.now()
        left = record.deadline.until_first(began)
        patience = left
        if request.max_queue_ms:  # in all, however often it has to wait
            patience = min(left, max(0.0, request.max_queue_ms / 1000 - record.waited_s))
        if not shard.turnstile.permits:
            self._wake()  # the scheduler should know at once that an instance is asked for
            self._check_hope(shard, request, patience)
        had_waited, record.queued = record.queued, True
        try:
            return await shard.turnstile.wait(request, patience=patience, at_front=record.retried)
        except OutOfCapacity:  # at once, or from its place later
            record.queued = had_waited or self._clock.now() - began > AT_ONCE_S
            raise
        except QueueTimeUsedUp as error:
            if _is_starting(shard):
                raise _starting(shard, self._boot_left_s(shard)) from None
            if not shard.turnstile.permits:
                raise shard.none_healthy() from None
            raise _with_wait(shard, request, error) from None
        finally:
            record.waited_s += self._clock.now() - began

    def _check_hope(self, shard: OwnedShard, request: InferRequest, patience: float) -> None:
        """Refuse a call that should not wait for an instance: another model takes it, or too long.

        Raises ModelStarting, and Unavailable where none is healthy.
        """
        if _is_starting(shard):
            boot_s = self._boot_left_s(shard)
            if request.falls_back or patience < boot_s:
                raise _starting(shard, boot_s)
        elif request.falls_back:
            raise shard.none_healthy()

    def _boot_left_s(self, shard: OwnedShard) -> float:
        return boot_left_s(self._world, shard.model, self.me.colo, now_ms=self._clock.unix_ms())

    async def _catch_up(self, record: Record) -> OwnedShard:
        """Return the shard of a call that came here in its right, if we only hear of it later.

        Raises ServerLost where another owns the shard, and from a server that is leaving.
        """
        request = record.request
        key = shard_key(self.me.colo, request.model, request.shard)

        def is_behind() -> bool:
            known = self._world.table(Shard).get(key)
            return (known.epoch if known else 0) < request.shard_epoch

        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                while is_behind():
                    await self._world.changed()
        shard = self.shards.find(request.model, request.shard)
        if shard is None or request.shard_epoch > shard.epoch:
            raise ServerLost(f"{request.model} is not served by {self.me.name} any more")
        record.belongs_to(shard, self._outcomes.arrived(shard, request))
        return shard


def _is_starting(shard: OwnedShard) -> bool:
    """Whether there is no instance yet: none that is unhealthy or does not fit, either."""
    return not shard.turnstile.endpoints and not shard.misfits


def _starting(shard: OwnedShard, boot_s: float) -> ModelStarting:
    """Say that a call's time ends before there is an instance, and when to try again."""
    text = f"{shard.model.name} has no instance that is ready; one is expected in {boot_s:.1f} s"
    return ModelStarting(text, retry_after_ms=honest(1000 * boot_s))


def _with_wait(shard: OwnedShard, request: InferRequest, error: RequestError) -> RequestError:
    """Say how long a call that comes now would wait, and when to try again."""
    wait_ms = 1000 * shard.expected_wait_s(request)
    text = f"{error}; {expecting(wait_ms)}"
    return type(error)(text, retry_after_ms=honest(wait_ms), sent=error.sent)
