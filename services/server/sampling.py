"""Sampling: twice a second every shard is looked at, for its window and for its health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from services.server.health import Health
from services.server.shards import OwnedShard
from services.server.windows import SAMPLE_S


class Sampler:
    """Samples the shards of one server."""

    def __init__(self, shards: Iterable[OwnedShard], *, health: Health) -> None:
        self._shards = shards
        self._health = health

    def __repr__(self) -> str:
        return f"<Sampler of {self._shards!r}>"

    async def run(self) -> None:
        """Sample until cancelled; a sample that is late does not delay the next one."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + SAMPLE_S, loop.time())
            await asyncio.sleep(due - loop.time())
            self.sample()

    def sample(self) -> None:
        """Look at every shard once."""
        for shard in self._shards:
            turnstile = shard.turnstile
            shard.window.add(
                total=turnstile.permits, available=turnstile.free, queued=turnstile.waiting
            )
        self._health.sample(self._shards)
