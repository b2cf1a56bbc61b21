"""Endpoints: where instances answer, how many permits each has, and its health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from libs.common.world_map import EndpointLoad, EndpointState
from services.server.affinity import Affinity
from services.server.latency import Latency

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One instance as its shard's server sees it; changed only between awaits."""

    instance: str
    address: str
    concurrency: int
    external: bool = False
    state: EndpointState = "healthy"
    in_flight: int = 0
    failures: int = 0
    retry_at: float = 0.0
    affinity: Affinity = field(default_factory=Affinity)
    latency: Latency = field(default_factory=Latency)

    @property
    def free(self) -> int:
        """Permits that can be leased now: none unless it is healthy."""
        return max(0, self.concurrency - self.in_flight) if self.state == "healthy" else 0

    def failed(self, now: float) -> None:
        """Put it into backoff: twice as long with each failure in a row.

        Its instance may have started anew, and then holds nothing.
        """
        if self.state == "draining":
            return
        self.state = "backoff"
        self.retry_at = now + min(FIRST_BACKOFF_S * 2**self.failures, LONGEST_BACKOFF_S)
        self.failures += 1
        self.affinity.forget()

    def recovered(self) -> None:
        """Take it back into service, unless it is leaving."""
        if self.state == "backoff":
            self.state = "healthy"
        self.failures = 0

    def load(self) -> EndpointLoad:
        """Say how it is."""
        return EndpointLoad(
            instance=self.instance,
            address=self.address,
            state=self.state,
            in_flight=self.in_flight,
            adapters=tuple(self.affinity.adapters),
        )


def due_for_probe(endpoints: Sequence[Endpoint], now: float) -> list[Endpoint]:
    """Return the endpoints whose backoff has passed."""
    return [each for each in endpoints if each.state == "backoff" and each.retry_at <= now]
