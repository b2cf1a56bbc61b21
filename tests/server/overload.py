"""Overload of a turnstile in virtual time: sources, accounts, and what each of them got."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.common.catalog import AccountShare
from libs.common.errors import RequestError
from services.server.endpoints import Endpoint
from services.server.turnstile import Turnstile
from tests import virtual_time
from tests.fakes import a_request


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one account offers: permits per second, in calls of a cost."""

    weight: float
    offers: float
    cost: int = 1


@dataclass(kw_only=True)
class Got:
    """What became of one account's calls."""

    served: int = 0  # permits
    waits: list[float] = field(default_factory=list)
    rejections: list[float] = field(default_factory=list)  # seconds until each

    @property
    def p99(self) -> float:
        """Return what one in a hundred waits longer than."""
        return sorted(self.waits)[int(len(self.waits) * 0.99) - 1]


@dataclass(frozen=True, kw_only=True)
class Overload:
    """A model with its endpoints, and who wants more of it than there is."""

    sources: Mapping[str, Source]
    endpoints: tuple[int, ...] = (16, 16)
    service_s: float = 0.8
    varies: float = 0.0  # share by which a call takes more or less
    queue: int = 64
    warm_s: float = 10.0
    seconds: float = 60.0
    seed: int = 1

    @property
    def capacity(self) -> float:
        """Return permits per second."""
        return sum(self.endpoints) / self.service_s

    async def run(self) -> dict[str, Got]:
        """Offer for as long as it says, and return what each account got after the warming up."""
        gate = Turnstile(queue_limit=self.queue, rng=random.Random(self.seed), now=virtual_time.now)
        shares = {name: AccountShare(weight=each.weight) for name, each in self.sources.items()}
        gate.configure(self.queue, shares)
        for at, size in enumerate(self.endpoints):
            name = f"e{at}"
            gate.endpoints[name] = Endpoint(instance=name, address=name, concurrency=size)
        got = {name: Got() for name in self.sources}
        offering = [self._offer(gate, name, each, got[name]) for name, each in self.sources.items()]
        await asyncio.gather(*offering)
        return got

    async def _offer(self, gate: Turnstile, name: str, source: Source, got: Got) -> None:
        rng = random.Random(f"{self.seed} {name}")
        calls: set[asyncio.Task[None]] = set()
        while virtual_time.now() < self.warm_s + self.seconds:
            await asyncio.sleep(rng.expovariate(source.offers / source.cost))
            takes_s = self.service_s * (1 + self.varies * rng.uniform(-1, 1))
            call = asyncio.create_task(self._call(gate, name, source.cost, takes_s, got))
            calls.add(call)
            call.add_done_callback(calls.discard)
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _call(self, gate: Turnstile, name: str, cost: int, takes_s: float, got: Got) -> None:
        came = virtual_time.now()
        request = a_request(account=name, cost=cost)
        try:
            with gate.try_lease(request) or await gate.wait(request, patience=30):
                waited = virtual_time.now() - came
                await asyncio.sleep(takes_s)
                if self.warm_s <= virtual_time.now() < self.warm_s + self.seconds:
                    got.served += cost
                    got.waits.append(waited)
        except RequestError:
            got.rejections.append(virtual_time.now() - came)
