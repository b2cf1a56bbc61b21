"""A shard with endpoints whose health is looked at, in time that moves by hand."""

from __future__ import annotations

import random

from prometheus_client import CollectorRegistry

from libs.common.catalog import Permits
from libs.common.clock import ManualClock
from libs.common.envelope import TimeBounds, Timings
from libs.common.errors import RequestError
from services.server.endpoints import Endpoint
from services.server.health import Health
from services.server.metrics import ServerMetrics
from services.server.outliers import (
    Limits,
    Verdict,
)
from services.server.shards import Shards
from services.server.turnstile import Lease
from tests.fakes import COLO, SERVER, a_model, a_request, a_world, an_instance
from tests.server.looking import recorded

UP, DOWN = Verdict(is_up=True), Verdict(is_up=False)
PROVEN = Verdict(is_up=True, is_proven=True)
TWO = Permits(per_instance=2)
# As entry sets them where a client says nothing, less what the way took.
MODELS = TimeBounds(first_part_ms=29_990, idle_ms=30_000, total_ms=599_990)
OWN = TimeBounds(first_part_ms=29_990, idle_ms=30_000, total_ms=5_000)


class Ward:
    """A shard with some endpoints, its health, and time that moves by hand."""

    def __init__(self, endpoints: int, *, permits: Permits = TWO, **limits: float) -> None:
        self.clock = ManualClock()
        self.metrics = ServerMetrics(CollectorRegistry())
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.health = Health(
            self.limits, metrics=self.metrics, clock=self.clock, rng=random.Random(1)
        )
        instances = [an_instance(number) for number in range(endpoints)]
        self.world = a_world(*instances, model=a_model(permits=permits))
        self.shards = Shards(server=SERVER, colo=COLO, world=self.world, rng=random.Random(1))
        self.shards.sync()
        (self.shard,) = self.shards

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self.shard.turnstile.endpoints.values())

    @property
    def states(self) -> list[str]:
        return [each.condition.state for each in self.endpoints]

    @property
    def used(self) -> list[int]:
        """The endpoints that calls are sent to."""
        return [n for n, each in enumerate(self.endpoints) if each.state == "healthy"]

    def call(
        self,
        number: int,
        error: type[RequestError] | None = None,
        *,
        took_s: float = 0.01,
        account: str = "a",
        bounds: TimeBounds = MODELS,
        had_parts: bool = False,
    ) -> None:
        """Let one call of an endpoint end."""
        lease = Lease(self.shard.turnstile, self.endpoints[number], "", 1)
        request = a_request(account=account, time_bounds=bounds)
        record = recorded(request=request, shard=self.shard)
        record.first_part_at = self.clock.now() if had_parts else 0.0
        record.lease, record.leased_at = lease, self.clock.now()
        self.clock.advance(took_s)
        record.error = error
        took_us = int(took_s * 1_000_000)
        record.timings = Timings(forward_us=took_us, first_part_us=took_us)
        self.health.ended(record)

    def sample(self) -> None:
        self.clock.advance(0.5)
        self.health.sample(self.shards)

    def probe(self, number: int, verdict: Verdict, *, after_s: float = 13.0) -> None:
        self.clock.advance(after_s)
        self.health.probed(self.shard, self.endpoints[number], verdict)
