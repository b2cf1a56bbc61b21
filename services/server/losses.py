"""Losses: what becomes of a call whose endpoint is lost, and of calls that kill instances."""

from __future__ import annotations

from collections.abc import Iterable

from libs.common.clock import Clock
from libs.common.errors import KillsInstances, OutOfCapacity, StreamLost, Unavailable
from services.server.errors import EndpointFull, InstanceDead, InstanceLost
from services.server.health import Health
from services.server.killers import Killers
from services.server.metrics import ServerMetrics
from services.server.records import Record
from services.server.retries import RetryLimits
from services.server.shards import OwnedShard
from services.server.turnstile import Lease


class Losses:
    """Decides for one server who may go elsewhere, and who may not run at all."""

    def __init__(
        self,
        *,
        health: Health,
        killers: Killers,
        retries: RetryLimits,
        metrics: ServerMetrics,
        clock: Clock,
    ) -> None:
        self.killers = killers
        self.health = health
        self._retries = retries
        self.metrics = metrics
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Losses {self.killers!r}>"

    def refuse_killer(self, record: Record) -> None:
        """Raise KillsInstances for what has killed instances; ask only if there are suspects."""
        if self.killers.has_killed(record.request, self._clock.now()):
            text = "this request has killed two instances, and is refused for a while"
            raise KillsInstances(text)

    def met(
        self, record: Record, lease: Lease, error: Unavailable, running: Iterable[Record]
    ) -> None:
        """Leave the endpoint alone; raise, unless the call may go elsewhere.

        `running` are all calls of the server: those on a dead instance would wait in vain.
        """
        shard = record.shard
        assert shard is not None
        if isinstance(error, EndpointFull):
            self._met_full(record, shard, lease, error)
            return
        life = lease.endpoint.condition.lives
        if isinstance(error, InstanceLost):
            self._blame(record, lease, life)
        if isinstance(error, InstanceDead):
            for each in running:
                if each.lease and each.lease.endpoint is lease.endpoint and each is not record:
                    self._blame(each, lease, life)
                    each.lose()
        self.health.lost(shard, lease.endpoint, is_dead=isinstance(error, InstanceDead))
        if record.first_part_at:
            raise StreamLost(f"the stream broke: {error}", sent=True) from error
        if not self._goes_elsewhere(record, shard, error):
            raise error

    def _met_full(
        self, record: Record, shard: OwnedShard, lease: Lease, error: EndpointFull
    ) -> None:
        """Send no more there for a moment; its caller hears 429, unless the call goes elsewhere."""
        self.health.is_full(shard, lease)
        if not self._goes_elsewhere(record, shard, error):
            raise OutOfCapacity(str(error), sent=error.sent) from error

    def _goes_elsewhere(self, record: Record, shard: OwnedShard, error: Unavailable) -> bool:
        """Have a call lease once more, if it may."""
        if not record.may_go_elsewhere(error) or not self._is_budgeted(shard):
            return False
        record.retried = True
        record.lease, record.leased_at = None, 0.0
        return True

    def _blame(self, record: Record, lease: Lease, life: int) -> None:
        where = (
            f"{lease.endpoint.instance} at {lease.endpoint.address}"  # a new process has its own
        )
        self.killers.ran(record.request, where, life, self._clock.now())

    def _is_budgeted(self, shard: OwnedShard) -> bool:
        calls, now = shard.counters.arrivals, self._clock.now()
        may = shard.retries.take(self._retries, calls=calls, now=now)
        outcome = "retried" if may else "refused"
        self.metrics.retries[shard.colo, shard.model.name, outcome] += 1
        return may
