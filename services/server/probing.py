"""Probing: every endpoint is asked now and then, and one that was ejected when it may come back.

A probe takes no permit. Endpoints that share an address share the question whether anybody
answers there; only where somebody does is each model asked for. The model itself has to answer
when it is to be taken back, and when nothing else has shown for a while that it does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.clock import Clock
from services.server.endpoints import Endpoint
from services.server.health import Health
from services.server.outliers import EJECTED, FAILING, JITTER, Verdict
from services.server.ports import Backend, Depth
from services.server.shards import OwnedShard, Shards

log = logging.getLogger(__name__)

LOOK_S = 0.1  # how often it looks whose time has come


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLimits:
    """How often endpoints are probed and how long a probe may take; the server's settings."""

    every_s: float = 1.0
    timeout_s: float = 1.0
    idle_s: float = 10.0
    at_once: int = 64


class Prober:
    """Probes the endpoints of one server's shards, each in its own time."""

    def __init__(
        self,
        limits: ProbeLimits,
        *,
        shards: Shards,
        backends: Mapping[str, Backend],
        health: Health,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._limits = limits
        self._shards = shards
        self._backends = backends
        self._health = health
        self._clock = clock
        self._rng = rng
        # Addresses while they are asked whether anybody is there, and endpoints until they are
        # shown: a model that hangs must not keep the others there from coming back.
        self._under_way: set[str] = set()
        self._at_once = asyncio.Semaphore(limits.at_once)

    def __repr__(self) -> str:
        return f"<Prober under_way={len(self._under_way)}>"

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for address, due in self.due().items():
                    group.create_task(self._round(address, due), name=f"probe of {address}")
                await asyncio.sleep(LOOK_S)

    async def probe_due(self) -> None:
        """Probe every endpoint that is due, and wait for what that shows."""
        async with asyncio.TaskGroup() as group:
            for address, due in self.due().items():
                group.create_task(self._round(address, due))

    def due(self) -> dict[str, list[tuple[OwnedShard, Endpoint]]]:
        """Return the endpoints whose time has come, by address, and take them as under way."""
        now, due = self._clock.now(), defaultdict(list)
        for shard in self._shards:
            for endpoint in shard.turnstile.endpoints.values():
                condition = endpoint.condition
                if not condition.probe_at:  # new: somewhere in the first period, not all at once
                    condition.probe_at = now + self._limits.every_s * self._rng.random()
                when = condition.retry_at if condition.state == EJECTED else condition.probe_at
                if when <= now and self._under_way.isdisjoint(
                    {endpoint.address, _key(shard, endpoint)}
                ):
                    due[endpoint.address].append((shard, endpoint))
        self._under_way.update(due)
        return dict(due)

    async def _round(self, address: str, due: list[tuple[OwnedShard, Endpoint]]) -> None:
        """Ask an address, and then for each model there; what that shows is used as it comes."""
        async with self._at_once:
            answered = [endpoint.condition.answered for _, endpoint in due]
            try:
                answers = await self._ask(*due[0], "server", self._limits.timeout_s)
                self._under_way.update(_key(*each) for each in due)
            finally:
                self._under_way.discard(address)
            async with asyncio.TaskGroup() as group:
                for (shard, endpoint), before in zip(due, answered, strict=True):
                    group.create_task(self._look(shard, endpoint, answers is True, before))

    async def _look(
        self, shard: OwnedShard, endpoint: Endpoint, is_there: bool, answered: int
    ) -> None:
        """Ask for one model, and show what it says; it had `answered` so many calls before."""
        try:
            verdict = await self._verdict(shard, endpoint, is_there)
        finally:
            self._under_way.discard(_key(shard, endpoint))
        # whoever answers calls meanwhile is well, and only too busy for probes
        is_busy = not verdict.is_up and endpoint.condition.answered > answered
        self._show(shard, endpoint, Verdict(is_up=True) if is_busy else verdict)

    async def _verdict(self, shard: OwnedShard, endpoint: Endpoint, is_there: bool) -> Verdict:
        if not is_there or not await self._ask(shard, endpoint, "model", self._limits.timeout_s):
            return Verdict(is_up=False)
        if endpoint.condition.state != EJECTED and not self._is_silent(endpoint):
            return Verdict(is_up=True)
        timeout_s = shard.model.backend.probe.timeout_s
        answers = await self._ask(shard, endpoint, "inference", timeout_s)
        return Verdict(is_up=answers is not False, is_proven=answers is True, cause=FAILING)

    def _is_silent(self, endpoint: Endpoint) -> bool:
        """Whether no call has shown for a while that the model answers."""
        now, condition = self._clock.now(), endpoint.condition
        if condition.heard != condition.answered or not condition.heard_at:
            condition.heard, condition.heard_at = condition.answered, now
        return now - condition.heard_at >= self._limits.idle_s

    async def _ask(
        self, shard: OwnedShard, endpoint: Endpoint, depth: Depth, timeout_s: float
    ) -> bool | None:
        """Ask; whatever comes back that cannot be understood is a no, and told once."""
        backend, condition = self._backends[shard.model.backend.kind], endpoint.condition
        try:
            return await backend.probe(endpoint, shard.model, depth, timeout_s=timeout_s)
        except Exception as error:
            if condition.puzzle != repr(error):
                condition.puzzle = repr(error)
                log.warning("a probe of %s failed", endpoint.instance, exc_info=error)
            return False

    def _show(self, shard: OwnedShard, endpoint: Endpoint, verdict: Verdict) -> None:
        if verdict.is_proven:
            endpoint.condition.heard_at = self._clock.now()
        jitter = 1 + JITTER * (2 * self._rng.random() - 1)
        endpoint.condition.probe_at = self._clock.now() + self._limits.every_s * jitter
        self._health.probed(shard, endpoint, verdict)


def _key(shard: OwnedShard, endpoint: Endpoint) -> str:
    return f"{shard.model.name} {endpoint.instance}"
