"""A machine that is gone for good, or cut off for long, whether control restarts meanwhile or not.

For a while it only gets nothing new. Then what it had is started elsewhere, if there is room; and
once it is back it drains what it should not run any more.
"""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from libs.common.world_map import Assignment, Decision, Instance, Node, Override
from tests.fleet.rig import Fleet, Site
from tests.virtual_time import run

AWAY_S, GONE_S, FORGET_S = 30.0, 300.0, 3600.0
BOOTS_S = 20.0


@pytest.fixture(autouse=True)
def _quiet() -> object:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def count(site: Site) -> int:
    return sum(each.model == "first" for each in site.machine.alive.values())


def assigned(fleet: Fleet) -> dict[str, int]:
    table = fleet.controls.newest()._snapshot.world.table(Assignment)
    return {each.node: each.instances for each in table.values() if each.model == "first"}


def why(fleet: Fleet) -> str:
    return fleet.controls.newest()._snapshot.world.table(Decision)["first@eu"].reason


def known(fleet: Fleet) -> tuple[set[str], set[str]]:
    world = fleet.controls.newest()._snapshot.world
    return set(world.table(Node)), {each.node for each in world.table(Instance).values()}


async def begun(fleet: Fleet, count: int) -> None:
    """Have the fleet come up, and run so many."""
    await asyncio.sleep(10.0)
    await fleet.want("first", count)
    await asyncio.sleep(BOOTS_S)


async def fail_over(fleet: Fleet) -> None:
    """Have both controls die and come back, so that the active one knows what is kept alone."""
    for name in ("a", "b"):
        await fleet.controls.kill(name)
    for name in ("a", "b"):
        fleet.controls.start(name)
    await asyncio.sleep(15.0)


async def lose(site: Site) -> None:
    await site.kill()
    site.machine.alive.clear()


@pytest.mark.parametrize("restarts", [False, True], ids=["control stays", "control restarts"])
def test_a_machine_that_is_gone_gets_nothing_and_is_replaced(restarts: bool) -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            ams, lhr = fleet.sites
            await begun(fleet, 2)
            assert (count(ams), count(lhr)) == (1, 1)

            await lose(ams)
            await asyncio.sleep(AWAY_S / 2)
            if restarts:
                await fail_over(fleet)
            await asyncio.sleep(AWAY_S)
            await fleet.want("first", 3)
            await asyncio.sleep(BOOTS_S)
            assert assigned(fleet) == {"ams-1": 1, "lhr-1": 2}
            assert count(lhr) == 2
            assert "ams-1 has not been heard from for" in why(fleet)
            assert "1 of its 1 stay" in why(fleet)

            if restarts:
                await fail_over(fleet)
            await asyncio.sleep(GONE_S - 50.0)
            assert assigned(fleet) == {"lhr-1": 3}
            assert count(lhr) == 3
            assert known(fleet) == ({"ams-1", "lhr-1"}, {"ams-1", "lhr-1"})

            await ams.start()
            await asyncio.sleep(BOOTS_S)
            assert not fleet.wrong()
            assert (count(ams), count(lhr)) == (0, 3)

    run(story())


def test_a_machine_that_never_comes_back_is_forgotten() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            ams, _ = fleet.sites
            await begun(fleet, 2)

            await lose(ams)
            await asyncio.sleep(FORGET_S - 10.0)
            assert known(fleet) == ({"ams-1", "lhr-1"}, {"ams-1", "lhr-1"})
            await asyncio.sleep(20.0)
            assert known(fleet) == ({"lhr-1"}, {"lhr-1"})
            await fail_over(fleet)
            assert known(fleet) == ({"lhr-1"}, {"lhr-1"})

    run(story())


def test_a_frozen_model_keeps_its_number_without_a_machine_and_over_a_restart() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            ams, lhr = fleet.sites
            await begun(fleet, 3)
            await fleet.controls.newest().put(Override(model="first", frozen=True))
            await asyncio.sleep(10.0)

            await lose(ams)
            await fail_over(fleet)
            await asyncio.sleep(GONE_S + BOOTS_S)

            assert assigned(fleet) == {"lhr-1": 3}
            assert count(lhr) == 3

    run(story())


def test_where_all_are_cut_off_nothing_is_taken_from_them() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            await begun(fleet, 3)
            before = assigned(fleet)
            starts = [site.machine.starts for site in fleet.sites]

            for site in fleet.sites:
                site.line.is_cut = True
            await asyncio.sleep(GONE_S + 60.0)
            assert assigned(fleet) == before
            assert why(fleet).count("has not been heard from for") == 2
            await fleet.heal()
            await asyncio.sleep(BOOTS_S)

            assert not fleet.wrong()
            assert starts == [site.machine.starts for site in fleet.sites]

    run(story())


def test_a_machine_that_was_cut_off_drains_what_is_elsewhere_by_now() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            ams, lhr = fleet.sites
            await begun(fleet, 2)

            ams.line.is_cut = True
            await asyncio.sleep(GONE_S + BOOTS_S + 10.0)
            assert (count(ams), count(lhr)) == (1, 2)
            ams.line.is_cut = False
            await asyncio.sleep(BOOTS_S)

            assert (count(ams), count(lhr)) == (0, 2)
            assert not fleet.wrong()

    run(story())
