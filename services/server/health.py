"""Health: endpoints in backoff are tried again when their time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from libs.common.clock import Clock
from services.server.endpoints import Endpoint, due_for_probe
from services.server.ports import Backend
from services.server.shards import OwnedShard, Shards


class Prober:
    """Probes the endpoints whose backoff has passed; the one that answers serves again."""

    def __init__(
        self, *, shards: Shards, backends: Mapping[str, Backend], clock: Clock, every_s: float
    ) -> None:
        self._shards = shards
        self._backends = backends
        self._clock = clock
        self._every_s = every_s

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.probe_due()

    async def probe_due(self) -> None:
        """Probe every endpoint that is due, all at once."""
        now = self._clock.now()
        async with asyncio.TaskGroup() as group:
            for shard in self._shards:
                for endpoint in due_for_probe(list(shard.turnstile.endpoints.values()), now):
                    group.create_task(self._probe(shard, endpoint))

    async def _probe(self, shard: OwnedShard, endpoint: Endpoint) -> None:
        backend = self._backends[shard.model.backend.kind]
        if await backend.probe(endpoint, shard.model):
            endpoint.recovered()
            shard.turnstile.admit()
        else:
            endpoint.failed(self._clock.now())
