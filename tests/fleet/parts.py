"""What outlives processes in a fleet of virtual time: clock, catalog, and what stores keep."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from libs.common.catalog import Backend, Model, Resources, Scaling
from libs.common.errors import Unavailable
from libs.common.events.sinks import MemorySink
from libs.common.world_map import (
    Colo,
    Decision,
    Ref,
    Resource,
    ref,
)
from services.control.endpoint_tracker import Stay
from services.control.ports import LeaseRow
from tests.virtual_time import VirtualClock

CLOCK = VirtualClock()
DRAIN_S, BACKOFF_S = 4.0, 8.0


def a_model(name: str, cpus: float, *, dedicated: bool = True, priority: int = 5) -> Model:
    return Model(
        name=name,
        task="text-generation",
        backend=Backend(repository=name, dedicated=dedicated),
        resources=Resources(cpus=cpus),
        scaling=Scaling(min=0, max=4),
        priority=priority,
    )


CATALOG = (
    Colo(name="ams", region="eu"),
    Colo(name="lhr", region="eu"),
    a_model("first", 1.0),
    a_model("shared", 0.5, dedicated=False),
    a_model("large", 2.0, priority=3),
)
MODELS = tuple(each.name for each in CATALOG if isinstance(each, Model))


@dataclass
class Disk:
    """What every process's store has in common."""

    rows: dict[Ref, Resource] = field(default_factory=dict)
    lease: LeaseRow = field(default_factory=LeaseRow)
    stays: dict[str, Stay] = field(default_factory=dict)
    seen_ts: int = 0
    events: MemorySink = field(default_factory=MemorySink)  # what all controls have told
    is_away: bool = False


class MemoryStore:
    """One process's connection to the disk; a dead process's reaches nothing."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._term = 0
        self.is_dead = False

    async def open(self) -> list[Resource]:
        await self._reach()
        return list(self._disk.rows.values())

    async def write(self, puts: Sequence[Resource], deletes: Sequence[Ref] = ()) -> None:
        await self._reach()
        if await self.renew_lease() is None:
            raise Unavailable("another control is active by now")
        for each in puts:
            self._disk.rows[ref(each)] = each
        for name in deletes:
            self._disk.rows.pop(name, None)

    async def stays(self) -> tuple[Sequence[Stay], int]:
        await self._reach()
        return list(self._disk.stays.values()), self._disk.seen_ts

    async def keep_stays(self, changed: Sequence[Stay], *, seen_ts: int) -> None:
        await self._reach()
        if await self.renew_lease() is None:
            raise Unavailable("another control is active by now")
        for each in changed:
            self._disk.stays.pop(each.endpoint.instance, None)
        self._disk.stays |= {each.endpoint.instance: each for each in changed if not each.end_ts}
        self._disk.seen_ts = seen_ts

    async def close(self) -> None:
        """Nothing is held open."""

    async def lease(self) -> LeaseRow:
        await self._reach()
        return self._disk.lease

    async def take_lease(self, seen: LeaseRow, holder: str) -> bool:
        await self._reach()
        row = self._disk.lease
        if (row.term, row.beat) != (seen.term, seen.beat):
            return False
        self._term = row.term + 1
        self._disk.lease = replace(row, holder=holder, term=self._term, beat=0)
        return True

    async def renew_lease(self) -> LeaseRow | None:
        await self._reach()
        row = self._disk.lease
        if row.term != self._term:
            return None
        self._disk.lease = replace(row, beat=row.beat + 1)
        return self._disk.lease

    async def stand_by(self) -> None:
        await self._reach()
        self._disk.lease = replace(self._disk.lease, waiting=self._disk.lease.waiting + 1)

    async def release_lease(self) -> None:
        await self._reach()
        if self._disk.lease.term == self._term:
            self._disk.lease = replace(self._disk.lease, holder="", term=self._term + 1)

    async def _reach(self) -> None:
        await asyncio.sleep(0.001)
        if self.is_dead or self._disk.is_away:
            raise Unavailable("the store is away")


class NoAssets:
    """Keeps no files: none are uploaded here."""

    async def open(self, wanted: Collection[str]) -> None:
        """Nothing to make ready."""

    async def retain(self, wanted: Collection[str]) -> None:
        """Nothing to remove."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Nowhere:
    """Keeps no history and no decisions."""

    async def load(self) -> Mapping[Any, Any]:
        return {}

    async def save(self, kept: Mapping[Any, Any]) -> None:
        """Forget it."""

    async def add(self, decisions: Sequence[Decision]) -> None:
        """Forget them."""

    async def find(self, question: Any) -> tuple[Decision, ...]:
        return ()
