"""Versions, watchers and their bounds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from libs.common.catalog import Model
from libs.common.errors import FellBehind, Unavailable
from libs.common.staged_files import Staged
from libs.common.world import World
from libs.common.world_map import Account, Ref
from services.control.snapshot import Snapshot


def account(number: int, name: str = "") -> Account:
    return Account(id=f"a{number}", name=name)


async def test_only_real_changes_get_a_version() -> None:
    snapshot = Snapshot(first_version=100)

    assert snapshot.change([account(1)]) == 101
    assert snapshot.change([account(1)], [Ref("account", "other")]) == 101
    assert snapshot.change([account(1, "new"), account(2)]) == 102
    assert snapshot.change(deletes=[Ref("account", "a1")]) == 103


async def test_a_watcher_that_keeps_up_ends_with_the_same_world() -> None:
    snapshot = Snapshot(bound=3)
    world = World()

    async with aclosing(snapshot.watch()) as updates:
        for number in range(50):
            snapshot.change([account(number % 7, str(number))], [Ref("account", f"a{number % 5}")])
            world.apply(await anext(updates))
            if number == 0:
                continue
        while world.version < snapshot.world.version:
            world.apply(await anext(updates))

    assert world.everything() == snapshot.world.everything()


async def test_a_watcher_that_falls_behind_is_given_up_and_the_others_are_not() -> None:
    snapshot = Snapshot(bound=3)

    async with aclosing(snapshot.watch()) as slow, aclosing(snapshot.watch()) as quick:
        await anext(slow)
        await anext(quick)
        for number in range(4):
            snapshot.change([account(number)])
            assert (await anext(quick)).version == number + 1
        with pytest.raises(FellBehind):
            await anext(slow)


async def test_close_ends_a_watch_that_waits() -> None:
    snapshot = Snapshot()

    async with aclosing(snapshot.watch()) as updates:
        await anext(updates)
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        snapshot.close()
        with pytest.raises(Unavailable):
            await waiting


async def test_what_is_staged_in_a_colo_is_seen_there_alone_until_it_is_rolled_back() -> None:
    old, new = (Model(name="m", task="text-generation", description=each) for each in "12")
    snapshot = Snapshot()
    snapshot.change([old])

    async with aclosing(snapshot.watch("ams")) as there, aclosing(snapshot.watch("lhr")) as away:
        assert (await anext(there)).puts == (await anext(away)).puts == (old,)
        snapshot.stage([Staged(colo="ams", model=new)])
        assert (await anext(there)).puts == (new,)
        assert not snapshot.stage([Staged(colo="ams", model=new)])
        async with aclosing(snapshot.watch("ams")) as late:
            assert (await anext(late)).puts == (new,)
        snapshot.stage([])
        assert (await anext(there)).puts == (old,)
        snapshot.change([account(1)])
        assert (await anext(away)).puts == (account(1),)
