"""Control's own ways: slow readers, moving shards, silent reporters, writers that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.backoff import Backoff
from libs.common.catalog import Finetune, Model
from libs.common.clients.control import ControlClient
from libs.common.errors import BadInput, FellBehind, NameTaken, Unavailable
from libs.common.lifecycle import background
from libs.common.rpc import CannotListen
from libs.common.world import World, follow
from libs.common.world_map import (
    Account,
    Assignment,
    Colo,
    Report,
    Server,
    Shard,
    ShardLoad,
    shard_key,
)
from services.control import app
from services.control.service import Control

MODEL = Model(name="m", task="text-generation")
CATALOG = (Colo(name="ams"), MODEL)
KEY = shard_key("ams", "m", 0)


@asynccontextmanager
async def serving(folder: Path, **settings: float) -> AsyncIterator[Control]:
    config = replace(app.Config(state_dir=folder, listen="127.0.0.1:0"), **settings)
    control = app.build(config, catalog=CATALOG)
    async with app.serve(config, control):
        yield control


@asynccontextmanager
async def following(control: Control) -> AsyncIterator[World]:
    world = World()
    async with background(follow(control, world, backoff=Backoff(first_s=0.01)), name="w"):
        await seen(world, lambda world: world.complete)
        yield world


async def seen(world: World, condition: object) -> None:
    await asyncio.wait_for(world.until(condition), 5)  # type: ignore[arg-type]


def report(name: str, *, in_flight: int | None = None, draining: bool = False) -> Report:
    server = Server(name=name, colo="ams", address="x", draining=draining)
    if in_flight is None:
        return Report(kind="server", name=name, colo="ams", resources=(server,))
    load = ShardLoad(model="m", colo="ams", index=0, server=name, in_flight=in_flight)
    return Report(kind="server", name=name, colo="ams", resources=(server, load))


class Feed:
    """A report stream that the test feeds."""

    def __init__(self, control: Control) -> None:
        self.queue: asyncio.Queue[Report | None] = asyncio.Queue()
        self.task = asyncio.create_task(control.report(self._reports()))

    async def _reports(self) -> AsyncIterator[Report]:
        while (report := await self.queue.get()) is not None:
            yield report

    async def say(self, report: Report) -> None:
        self.queue.put_nowait(report)
        await asyncio.sleep(0.03)

    async def goodbye(self) -> None:
        self.queue.put_nowait(None)
        await self.task


async def test_a_reader_that_falls_behind_is_disconnected_over_grpc(folder: Path) -> None:
    async with (
        serving(folder, watch_bound=16) as control,
        ControlClient(f"unix:{folder}/control.sock") as client,
        aclosing(client.watch()) as updates,
    ):
        await anext(updates)
        for number in range(100):  # 100 KB each: more than the connection's windows hold
            await control.put(Account(id="a", name=f"{number}" * 50_000))
        with pytest.raises(FellBehind):
            async for _ in updates:
                pass

        first = await anext(client.watch())
        assert first.version == await control.put(Account(id="a", name="99" * 50_000))


async def test_while_a_shard_moves_its_owners_word_stands(folder: Path) -> None:
    async with serving(folder) as control, following(control) as world:

        def load() -> ShardLoad | None:
            return world.table(ShardLoad).get(KEY)

        old, new = Feed(control), Feed(control)
        await old.say(report("s1", in_flight=3))
        await seen(world, lambda world: KEY in world.table(Shard))
        await old.say(report("s1", in_flight=2, draining=True))
        await new.say(report("s2", in_flight=0))
        await seen(world, lambda world: world.table(Shard)[KEY].owner == "s2")
        await new.say(report("s2", in_flight=1))
        assert load() == report("s2", in_flight=1).resources[1]

        await old.say(report("s1", in_flight=1, draining=True))
        assert load() == report("s2", in_flight=1).resources[1]

        await old.goodbye()
        await asyncio.sleep(0.03)
        assert load() == report("s2", in_flight=1).resources[1]
        await new.goodbye()
        await seen(world, lambda world: load() is None)


async def test_a_silent_reporter_is_lost_and_one_that_is_back_takes_its_name(folder: Path) -> None:
    async with (
        serving(folder, silent_s=5.0, report_gone_s=0.2) as control,
        following(control) as world,
    ):
        silent = Feed(control)
        await silent.say(report("s1"))
        early = Feed(control)
        await early.say(report("s1"))
        with pytest.raises(NameTaken):
            await early.task

        await asyncio.sleep(0.25)
        again = Feed(control)
        await again.say(report("s1"))

        with pytest.raises(Unavailable):
            await asyncio.wait_for(silent.task, 1)
        await asyncio.sleep(0.3)
        assert "s1" in world.table(Server)
        await again.goodbye()


async def test_a_stream_on_which_nothing_comes_is_given_up(folder: Path) -> None:
    async with (
        serving(folder, silent_s=0.2, report_gone_s=0.1) as control,
        following(control) as world,
    ):
        silent = Feed(control)
        await silent.say(report("s1"))
        with pytest.raises(Unavailable):
            await asyncio.wait_for(silent.task, 1)
        await seen(world, lambda world: not world.table(Server))


async def test_a_write_whose_caller_leaves_is_in_store_and_snapshot_or_in_none(
    folder: Path,
) -> None:
    async with serving(folder) as control, following(control) as world:
        writes = [
            asyncio.create_task(control.put(Account(id=f"a{number}"))) for number in range(20)
        ]
        await asyncio.sleep(0)
        for write in writes:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
        await seen(world, lambda world: len(world.table(Account)) == 21)
        first = await anext(control.watch())

    async with serving(folder) as control:
        again = await anext(control.watch())
    accounts = [{e.id for e in u.puts if isinstance(e, Account)} for u in (first, again)]
    assert accounts[0] == accounts[1]
    assert len(accounts[0]) == 21


async def test_a_second_control_is_refused_by_the_first_ones_socket(folder: Path) -> None:
    async with serving(folder):
        with pytest.raises(CannotListen):
            async with serving(folder):
                pass


async def test_versions_grow_over_restarts(folder: Path) -> None:
    async with serving(folder) as control:
        first = await control.put(Account(id="a"))
    async with serving(folder) as control:
        assert (await anext(control.watch())).version > first


async def test_the_stop_is_quick_with_streams_open(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        async with serving(folder, drain_s=5.0) as control:
            updates = client.watch()
            await anext(updates)
            feed = Feed(client)  # type: ignore[arg-type]
            await feed.say(report("s1"))
            await seen_server(control)
            since = loop.time()
        assert loop.time() - since < 1
        with pytest.raises(Unavailable):
            async for _ in updates:
                pass
        with pytest.raises(Unavailable):
            await feed.task


async def seen_server(control: Control) -> None:
    async with following(control) as world:
        await seen(world, lambda world: "s1" in world.table(Server))


@pytest.mark.parametrize(("colo", "waits"), [("ams", True), ("lhr", False)])
async def test_only_nodes_of_colos_that_there_are_are_waited_for(
    folder: Path, colo: str, waits: bool
) -> None:
    async with serving(folder) as control:
        await control.put(Assignment(node="n", model="m", instances=1, colo=colo))

    async with serving(folder, grace_s=0.5) as control:
        since = asyncio.get_running_loop().time()
        async with aclosing(control.watch()) as updates:
            await anext(updates)
        took_s = asyncio.get_running_loop().time() - since

    assert (took_s > 0.4) is waits


async def test_a_model_whose_fallbacks_lead_back_to_it_is_refused(folder: Path) -> None:
    def model(name: str, *fallbacks: str) -> Model:
        return Model(name=name, task="text-generation", fallbacks=fallbacks)

    async with serving(folder) as control:
        await control.put(model("b"))
        await control.put(model("a", "b"))

        with pytest.raises(BadInput, match="a loop"):
            await control.put(model("b", "a"))


@pytest.mark.parametrize("name", ["a/b", "../a", ".hidden", "a b", ""])
async def test_a_finetune_whose_id_is_no_folders_name_is_refused(folder: Path, name: str) -> None:
    async with serving(folder) as control:
        with pytest.raises(BadInput):
            await control.put(Finetune(id=name, name="f", model="m"))

        await control.put(Finetune(id="A-1_b.c", name="f", model="m"))


@pytest.mark.parametrize("said", [False, True], ids=["nobody yet", "a server"])
async def test_a_stop_ends_streams_that_have_said_who_they_are_or_not(
    folder: Path, said: bool
) -> None:
    async with serving(folder) as control:
        feed = Feed(control)
        await asyncio.sleep(0)  # it is open, and waits for its first report
        if said:
            await feed.say(report("s"))

        control.stop()

        with pytest.raises(Unavailable, match="stopping"):
            await asyncio.wait_for(feed.task, 2)


async def test_a_stream_that_is_ended_while_its_report_is_taken_ends_before_the_next(
    folder: Path,
) -> None:
    async with serving(folder) as control:
        feed = Feed(control)
        await asyncio.sleep(0)
        feed.queue.put_nowait(report("s"))  # its task runs in the same turn as the stop, or after

        control.stop()
        feed.queue.put_nowait(report("s"))

        with pytest.raises(Unavailable, match="stopping"):
            await asyncio.wait_for(feed.task, 2)
