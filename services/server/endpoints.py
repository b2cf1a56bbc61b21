"""Endpoints: where instances answer, how many permits each has, and its health."""

from __future__ import annotations

from dataclasses import dataclass, field

from libs.common.catalog import Permits
from libs.common.world_map import EndpointLoad, EndpointState
from services.server.affinity import Affinity
from services.server.gradient import GradientLimit
from services.server.latency import Latency
from services.server.outliers import EJECTED, Condition


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One instance as its shard's server sees it; changed only between awaits.

    `state` says whether calls are sent there, `condition` how it is: in a panic calls are sent to
    endpoints that are under suspicion, too.
    """

    instance: str
    address: str
    concurrency: int
    external: bool = False
    state: EndpointState = "healthy"
    in_flight: int = 0
    condition: Condition = field(default_factory=Condition)
    # On trial: its concurrency, one more than it has had in flight, and not what it could be.
    on_trial: int = 0
    # Its own queue was full: so many permits count as in flight, for others have them, until then.
    others: int = 0
    full_until: float = 0.0
    affinity: Affinity = field(default_factory=Affinity)
    latency: Latency = field(default_factory=Latency)
    limit: GradientLimit | None = None  # of a model whose permits are adaptive

    @property
    def free(self) -> int:
        """Permits that can be leased now: none unless calls are sent there."""
        return max(0, self.concurrency - self.in_flight) if self.state == "healthy" else 0

    def fit(self, permits: Permits) -> None:
        """Give it as many permits as the model has for each, or as it can bear now."""
        most = permits.per_instance
        if not permits.adaptive:
            self.limit = None
        elif self.limit is None:
            self.limit = GradientLimit(most)
        else:
            self.limit.bound(most)
        if self.limit is not None:
            most = self.limit.permits
        self.concurrency = min(self.on_trial, most) if self.on_trial else most

    def load(self) -> EndpointLoad:
        """Say how it is."""
        is_removed = self.state != "draining" and self.condition.state == EJECTED
        return EndpointLoad(
            instance=self.instance,
            address=self.address,
            state="backoff" if is_removed else self.state,
            in_flight=self.in_flight,
            adapters=tuple(self.affinity.adapters),
        )
