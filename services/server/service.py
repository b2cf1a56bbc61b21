"""The server's one sentence: lease a permit, forward to its endpoint, record what became of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from libs.common.clock import Clock
from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.errors import (
    ModelStarting,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    Unavailable,
)
from libs.common.ports import Send
from libs.common.world import World
from libs.common.world_map import Report, Resource, Server, ShardLoad
from libs.eager import Promise
from services.server.losses import Losses
from services.server.outcomes import Outcomes
from services.server.ports import Answer, Backend
from services.server.preferences import USUAL, Preferences
from services.server.records import Record
from services.server.shards import OwnedShard, Shards
from services.server.turnstile import Lease


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
    ) -> None:
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
        world.listen(lambda _: self.shards.sync())
        outcomes.metrics.watch(lambda: self.shards)

    def __repr__(self) -> str:
        return f"<InferenceServer {self.me.name} in_flight={self.in_flight} {self.shards!r}>"

    async def infer(self, request: InferRequest) -> InferReply:
        """Run the request and return its one answer."""
        shard, record = self._open(request)
        answer: Answer | None = None
        try:
            while answer is None:
                with shard.turnstile.try_lease(request) or await self._queue(record) as lease:
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
            self._running.discard(record)

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        """Run the request and hand on its parts; the permit lives as long as the stream."""
        shard, record = self._open(request)

        def pass_on(payloads: Sequence[bytes]) -> Promise[None] | None:
            record.parts(payloads)
            return send(payloads)

        is_whole = False
        try:
            while not is_whole:
                with shard.turnstile.try_lease(request) or await self._queue(record) as lease:
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
            self._running.discard(record)

    @property
    def in_flight(self) -> int:
        """Calls that wait or run here."""
        return len(self._running)

    def cancel(self, *, account: str, request_id: str, by_client_id: bool = False) -> int:
        """Cancel the calls of an account that have this id; return how many there were."""
        found = [
            record
            for record in self._running
            if record.request.account == account and record.has_id(request_id, by_client_id)
        ]
        for record in found:
            record.cancel()
        return len(found)

    def report(self) -> Report:
        """Say which shards there are here and how full they are."""
        resources: tuple[Resource, ...] = (self.me, *self._loads())
        return Report(kind="server", name=self.me.name, colo=self.me.colo, resources=resources)

    def listens_at(self, address: str) -> None:
        """Say from now on where this server is reached."""
        self.me = replace(self.me, address=address)

    def drain(self) -> None:
        """Say from now on that this server is leaving; its shards will move."""
        self.me = replace(self.me, draining=True)

    def _loads(self) -> list[ShardLoad]:
        name, epoch = self.me.name, self.me.boot_epoch
        return [each.load(server=name, boot_epoch=epoch) for each in self.shards]

    def _open(self, request: InferRequest) -> tuple[OwnedShard, Record]:
        shard = self.shards.find(request.model, request.shard)
        record = self._outcomes.open(request, shard)
        if shard is None or request.shard_epoch > shard.epoch:
            error = Unavailable(f"{request.model} is not served by {self.me.name} any more")
            record.failed(error)
            raise error
        if self._killers.suspects:
            try:
                self.losses.refuse_killer(record)
            except RequestError as error:
                record.failed(error)
                raise
        self._running.add(record)
        return shard, record

    async def _queue(self, record: Record) -> Lease:
        """Wait for a permit, if the call may wait; what went wrong says when to try again."""
        shard, request = record.shard, record.request
        assert shard is not None
        if request.reject_if_busy:
            if (lease := shard.turnstile.pass_by(request)) is not None:
                return lease
            raise _with_wait(shard, request, OutOfCapacity("no permit is free"))
        record.queued = True
        left = record.deadline.until_first(self._clock.now())
        patience = min(request.max_queue_ms / 1000 or left, left)
        try:
            return await shard.turnstile.wait(request, patience=patience, at_front=record.retried)
        except QueueTimeUsedUp as error:
            raise _with_wait(shard, request, _why(shard, error)) from None
        except OutOfCapacity as error:
            raise _with_wait(shard, request, error) from None


def _why(shard: OwnedShard, error: QueueTimeUsedUp) -> RequestError:
    """Say why no permit came: all in use, none healthy, or no instance there yet."""
    if shard.turnstile.permits:
        return error
    if shard.turnstile.endpoints:
        return Unavailable(f"no instance of {shard.model.name} is healthy")
    if shard.misfits:
        return Unavailable(f"{shard.model.name} is not what the catalog says where it runs")
    return ModelStarting(f"{shard.model.name} has no instance that is ready")


def _with_wait(shard: OwnedShard, request: InferRequest, error: RequestError) -> RequestError:
    """Say how long a call that comes now would wait, and when to try again."""
    wait_s = shard.expected_wait_s(request)
    retry_after_ms = min(60_000, max(1_000, int(wait_s * 1000)))
    message = f"{error}; a permit is expected in {wait_s:.1f} s"
    return type(error)(message, retry_after_ms=retry_after_ms, sent=error.sent)
