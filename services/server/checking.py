"""Checks that a model is what the catalog says, before its calls fail one by one.

An endpoint whose model does not fit is not used until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.catalog import Model
from libs.common.clock import Clock
from services.server.endpoints import Endpoint
from services.server.ports import ModelCheck
from services.server.shards import OwnedShard, Shards

log = logging.getLogger(__name__)

LOOK_S = 0.25  # how often it looks for endpoints that are new
AGAIN_S = 5.0  # after an endpoint did not answer, or did not fit


@dataclass(slots=True)
class _Checked:
    """An endpoint as it was seen last."""

    endpoint: Endpoint
    model: Model
    again_at: float


class Checker:
    """Asks each endpoint that is new, or of a model that has changed, and all now and then."""

    def __init__(
        self,
        *,
        shards: Shards,
        checks: Mapping[str, ModelCheck],
        clock: Clock,
        every_s: float,
    ) -> None:
        self._shards = shards
        self._checks = checks
        self._clock = clock
        self._every_s = every_s
        self._checked: dict[str, _Checked] = {}  # by instance

    def __repr__(self) -> str:
        return f"<Checker of {len(self._checked)}, misfits={len(self._shards.misfits)}>"

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check_due()
            await asyncio.sleep(LOOK_S)

    async def check_due(self) -> None:
        """Check every endpoint whose time has come, all at once."""
        now, there = self._clock.now(), set()
        async with asyncio.TaskGroup() as group:
            for shard in self._shards:
                for endpoint in [*shard.turnstile.endpoints.values(), *self._unused(shard)]:
                    there.add(endpoint.instance)
                    if self._is_due(shard.model, endpoint, now):
                        group.create_task(self._check(shard, endpoint))
        for gone in self._checked.keys() - there:
            del self._checked[gone]

    def _is_due(self, model: Model, endpoint: Endpoint, now: float) -> bool:
        known = self._checked.get(endpoint.instance)
        if known is None or known.model is not model:
            return True
        return known.endpoint.address != endpoint.address or known.again_at <= now

    def _unused(self, shard: OwnedShard) -> list[Endpoint]:
        """Return the endpoints of a shard that do not fit, as they were."""
        return [
            each.endpoint
            for each in self._checked.values()
            if each.model.name == shard.model.name and _place(each.endpoint) in self._shards.misfits
        ]

    async def _check(self, shard: OwnedShard, endpoint: Endpoint) -> None:
        flaw = await self._flaw(shard.model, endpoint)
        again_s = AGAIN_S if flaw or flaw is None else self._every_s
        due = self._clock.now() + again_s
        self._checked[endpoint.instance] = _Checked(endpoint, shard.model, due)
        if flaw is None:  # nobody answers: that is for others to find
            return
        before = self._shards.misfits.get(_place(endpoint), "")
        if flaw == before:
            return
        if flaw:
            where = f"{shard.model.name} at {endpoint.address}"
            log.warning("%s is not used, for it does not fit the catalog: %s", where, flaw)
            self._shards.misfits[_place(endpoint)] = flaw
        else:
            log.info("%s at %s fits now", shard.model.name, endpoint.address)
            del self._shards.misfits[_place(endpoint)]
        self._shards.sync()

    async def _flaw(self, model: Model, endpoint: Endpoint) -> str | None:
        """Ask; whatever comes back that cannot be understood does not fit."""
        check = self._checks.get(model.backend.kind)
        if check is None:
            return ""
        try:
            return await check.flaw(endpoint, model)
        except Exception as error:  # noqa: BLE001 - it is told with the flaw, once
            return f"it cannot be checked: {error!r}"


def _place(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.instance, endpoint.address
