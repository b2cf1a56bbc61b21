"""A scheduler that begins where another has died: with what there is, and at once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from libs.common.catalog import Scaling
from libs.common.lifecycle import background
from libs.common.world_map import Assignment, Decision
from services.scheduler.deciding import Series
from services.scheduler.deciding.minutes import KEPT
from services.scheduler.plan import Plan
from services.scheduler.ports import Kept
from services.scheduler.usage import Key
from tests.scheduler.fleet import MODEL, Site, scheduling
from tests.virtual_time import run

COUNT = 500
RUNNING = 2


def two_weeks() -> bytes:
    """Return what is kept of a series that was hardly called in two weeks."""
    series = Series()
    for index, load in enumerate(np.random.default_rng(1).uniform(0.0, 0.1, KEPT)):
        series.forecast.minutes.add(index - KEPT, float(load))
    return series.to_bytes()


async def fleet(count: int) -> Site:
    """A fleet whose scheduler has died: each model has its instances, but for one."""
    scaling = Scaling(min=0, max=9, boot_s=20.0, keep_alive_s=0.0)
    models = [replace(MODEL, name=f"m{each}", scaling=scaling) for each in range(count)]
    site = Site(*models, replace(MODEL, name="missing"), cpus=10.0 * (count + 1))
    history = Kept(two_weeks(), 20.0)
    for each in models:
        site.archive.kept[Key(each.name, "eu")] = history
    running = (Assignment(node="n1", model=each.name, instances=RUNNING) for each in models)
    await site.apply(Plan(puts=tuple(running)))
    await asyncio.sleep(30)
    site.told.clear()
    return site


class Turns:
    """Counts what is read in each turn of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: Counter[int] = Counter()
        self._turn = 0
        read = Series.from_bytes

        def counted(data: bytes, *, phase: int = 0) -> Series:
            self.reads[self._turn] += 1
            asyncio.get_running_loop().call_soon(self._next)
            return read(data, phase=phase)

        monkeypatch.setattr(Series, "from_bytes", counted)

    def _next(self) -> None:
        self._turn += 1


def test_a_large_fleet_is_told_what_it_needs_before_its_histories_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = Turns(monkeypatch)

    async def story() -> None:
        site = await fleet(COUNT)
        site.load(36, model="m7")
        async with scheduling(site):
            while not site.told:
                await asyncio.sleep(0)
            assert not turns.reads
            assert site.instances("missing") == 1

            while turns.reads.total() < 40:
                await asyncio.sleep(0)

        assert set(turns.reads.values()) == {1}
        assert all(site.instances(f"m{each}") == RUNNING for each in range(COUNT))

    run(story())


def test_what_runs_stays_until_its_history_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        site = await fleet(3)
        async with scheduling(site) as scheduler:
            with monkeypatch.context() as patch:
                patch.setattr(scheduler._behind, "set", lambda: None)  # so that none is read
                await asyncio.sleep(400)
                assert [site.instances(f"m{each}") for each in range(3)] == [RUNNING] * 3

                site.load(36, model="m0")
                await asyncio.sleep(15)
                assert site.instances("m0") == 9
                site.load(0, model="m0")
                await asyncio.sleep(300)
                assert [site.instances(f"m{each}") for each in range(3)] == [9, RUNNING, RUNNING]
                reason = site.world.table(Decision)["m1@eu"].reason
                assert "its history is being read: what there is stays" in reason

            await asyncio.sleep(50)
            assert [site.instances(f"m{each}") for each in range(3)] == [9, RUNNING, RUNNING]
            await asyncio.sleep(300)
            assert [site.instances(f"m{each}") for each in range(1, 3)] == [0, 0]

    run(story())


@pytest.mark.parametrize("has_history", [True, False])
def test_a_killed_scheduler_costs_a_model_that_is_called_no_instance(has_history: bool) -> None:
    async def calling(site: Site) -> None:
        for count in itertools.count(1):
            site.load(1, arrivals=count)
            await asyncio.sleep(2)
            site.load(0, arrivals=count)
            await asyncio.sleep(18)

    async def story() -> None:
        scaling = Scaling(min=0, max=9, boot_s=20.0, keep_alive_s=60.0)
        site = Site(replace(MODEL, scaling=scaling))
        async with background(calling(site), name="calls"):
            async with scheduling(site):
                await asyncio.sleep(400)
                assert site.archive.kept
                site.archive.is_away = True
                await asyncio.sleep(250)  # what is kept is that old as the scheduler is killed
            site.archive.is_away = False
            if not has_history:
                site.archive.kept.clear()
            told = len(site.told)
            assert site.ready() == 1

            await asyncio.sleep(9)
            async with scheduling(site):
                await asyncio.sleep(200)

        assert site.ready() == 1
        assert len(site.told) == told

    run(story())
