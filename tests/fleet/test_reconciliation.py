"""Whatever is killed, cut off or fails: the fleet comes back to what it should be.

Real controls with their lease, schedulers and agents, over machines that are fakes: no orphan, no
double, nothing stopped while the map shows it, nothing started without room.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest

from services.node.ports import InstanceSpec, RunningInstance
from tests.fleet.rig import MODELS, Fleet, Site
from tests.virtual_time import run

SOME, ALL = range(12), range(1000)
STEPS = 14
COMES_BACK_S, LONG_BOOT_S = 60.0, 20.0


async def want_more_or_fewer(fleet: Fleet, rng: random.Random) -> str:
    model, count = rng.choice(MODELS), rng.randrange(4)
    await fleet.want(model, count)
    return f"want {count} of {model}"


async def kill_an_instance(fleet: Fleet, rng: random.Random) -> str:
    alive = [(site, id_) for site in fleet.sites for id_ in site.machine.alive]
    if not alive:
        return "nothing to kill"
    site, id_ = rng.choice(alive)
    del site.machine.alive[id_]
    site.machine.stuck.discard(id_)
    return f"kill {id_}"


async def leave_an_orphan(fleet: Fleet, rng: random.Random) -> str:
    machine = _site(fleet, rng).machine
    model, slot = rng.choice(MODELS), rng.randrange(6)
    id_ = f"{machine.me.name}/{model}/{slot}"
    if id_ not in machine.alive and id_ not in machine.booting:
        spec = InstanceSpec(
            id=id_, model=model, served_as=model, repository=Path("/models") / model
        )
        machine.alive[id_] = RunningInstance(id=id_, model=model, address="127.0.0.1:1", spec=spec)
        machine.stuck.discard(id_)
    return f"orphan {id_}"


async def kill_or_start_an_agent(fleet: Fleet, rng: random.Random) -> str:
    site = _site(fleet, rng)
    was_up = site.is_up
    await (site.kill() if was_up else site.start())
    return f"{'kill' if was_up else 'start'} the agent of {site.me.name}"


async def kill_or_start_a_scheduler(fleet: Fleet, rng: random.Random) -> str:
    name = rng.choice("ab")
    if name in fleet.controls.names:
        await fleet.controls.kill(name)
        return f"kill scheduler {name}"
    fleet.controls.start(name)
    return f"start scheduler {name}"


async def lose_or_find_the_store(fleet: Fleet, rng: random.Random) -> str:
    fleet.disk.is_away = not fleet.disk.is_away
    return f"store away: {fleet.disk.is_away}"


async def cut_or_join_a_node(fleet: Fleet, rng: random.Random) -> str:
    site = _site(fleet, rng)
    site.line.is_cut = not site.line.is_cut
    return f"{site.me.name} cut off: {site.line.is_cut}"


async def have_boots_fail(fleet: Fleet, rng: random.Random) -> str:
    site = _site(fleet, rng)
    site.machine.fail_share = rng.choice([0.0, 0.5, 1.0])
    return f"{site.machine.fail_share:.0%} of boots on {site.me.name} fail"


async def have_boots_take_long(fleet: Fleet, rng: random.Random) -> str:
    machine = _site(fleet, rng).machine
    machine.longest_boot_s = rng.choice([3.0, LONG_BOOT_S])
    return f"boots on {machine.me.name} take up to {machine.longest_boot_s:g} s"


async def have_stops_fail(fleet: Fleet, rng: random.Random) -> str:
    machine = _site(fleet, rng).machine
    machine.stop_fail_share = rng.choice([0.0, 0.5, 1.0])
    return f"{machine.stop_fail_share:.0%} of stops on {machine.me.name} fail"


async def want_fewer_while_one_fails(fleet: Fleet, rng: random.Random) -> str:
    alive = [(site.machine, id_) for site in fleet.sites for id_ in site.machine.alive]
    if not alive:
        return "nothing to fail"
    machine, id_ = rng.choice(alive)
    machine.fail_share = 1.0
    model = machine.alive.pop(id_).model
    machine.stuck.discard(id_)
    await asyncio.sleep(rng.choice([0.0, 1.0, 5.0]))
    await fleet.want(model, max(0, fleet.wanted[model] - 1))
    return f"want {fleet.wanted[model]} of {model} while {id_} fails"


async def reboot_a_machine(fleet: Fleet, rng: random.Random) -> str:
    site = _site(fleet, rng)
    await site.kill()
    site.machine.alive.clear()
    await site.start()
    return f"reboot {site.me.name}"


async def have_a_model_become_another(fleet: Fleet, rng: random.Random) -> str:
    model, version = rng.choice(MODELS), rng.randrange(9)
    await fleet.become(model, version)
    return f"{model} becomes version {version}"


HAPPENINGS = (
    *(want_more_or_fewer,) * 4,
    kill_an_instance,
    leave_an_orphan,
    kill_or_start_an_agent,
    kill_or_start_a_scheduler,
    lose_or_find_the_store,
    cut_or_join_a_node,
    have_boots_fail,
    have_boots_take_long,
    have_stops_fail,
    want_fewer_while_one_fails,
    have_a_model_become_another,
    reboot_a_machine,
)


def _site(fleet: Fleet, rng: random.Random) -> Site:
    return rng.choice(fleet.sites)


async def lives_through(seed: int) -> None:
    rng = random.Random(seed)
    story: list[str] = []
    async with Fleet(rng) as fleet:
        await asyncio.sleep(rng.uniform(0.0, 10.0))
        for _ in range(STEPS):
            story.append(await rng.choice(HAPPENINGS)(fleet, rng))
            await asyncio.sleep(rng.choice([0.0, 0.3, 2.0, 9.0]))
        await fleet.heal()
        await asyncio.sleep(COMES_BACK_S)
        assert not fleet.wrong(), (seed, story, fleet.wrong())

        starts = [site.machine.starts for site in fleet.sites]
        await asyncio.sleep(90.0)
        assert not fleet.wrong(), (seed, story, fleet.wrong())
        assert starts == [site.machine.starts for site in fleet.sites], (seed, story)


@pytest.fixture(autouse=True)
def _quiet() -> object:
    """Outages are what this is about: a thousand stories of them would fill the output."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_fewer_are_wanted_while_one_fails_and_all_that_serve_go_on() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            here, there = (site.machine for site in fleet.sites)
            await asyncio.sleep(8.0)
            await fleet.want("first", 4)
            await asyncio.sleep(8.0)
            assert not fleet.wrong()
            here.fail_share = 1.0
            del here.alive["ams-1/first/0"]
            await asyncio.sleep(2.0)

            await fleet.want("first", 3)

            for _ in range(200):
                await asyncio.sleep(0.1)
                assert len(here.alive) + len(there.alive) == 3
            assert set(here.alive) == {"ams-1/first/1"}
            assert not fleet.wrong()

    run(story())


def test_boots_that_are_wanted_no_more_give_their_places_away_at_once() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            await asyncio.sleep(8.0)
            for site in fleet.sites:
                site.machine.longest_boot_s = 10_000.0
            await fleet.want("large", 4)
            await asyncio.sleep(2.0)
            assert [len(site.machine.booting) for site in fleet.sites] == [2, 2]
            for site in fleet.sites:
                site.machine.longest_boot_s = 3.0

            await fleet.want("large", 0)
            await fleet.want("first", 4)

            await asyncio.sleep(10.0)
            assert not fleet.wrong()
            assert [len(site.machine.alive) for site in fleet.sites] == [2, 2]

    run(story())


def test_what_takes_a_killed_ones_place_is_not_taken_for_it() -> None:
    async def story() -> None:
        async with Fleet(random.Random(1)) as fleet:
            here = fleet.sites[0].machine
            await asyncio.sleep(8.0)
            await fleet.become("first", 2)
            await fleet.want("first", 2)
            await asyncio.sleep(8.0)
            assert not fleet.wrong()

            (id_,) = here.alive
            spec = here.alive[id_].spec
            assert spec is not None
            earlier = replace(spec, repository=Path("/models/first"))
            here.alive[id_] = replace(here.alive[id_], spec=earlier)

            await asyncio.sleep(20.0)
            assert not fleet.wrong()

    run(story())


@pytest.mark.timeout(120)
def test_the_fleet_comes_back_from_whatever_happens_and_rests() -> None:
    for seed in SOME:
        run(lives_through(seed))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_fleet_comes_back_from_a_thousand_stories() -> None:
    for seed in ALL:
        run(lives_through(seed))
