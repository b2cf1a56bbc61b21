"""One suite for every ControlPlane: the object itself, and the client over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Backend, Model
from libs.common.clients.control import ControlClient
from libs.common.errors import BadInput, NameTaken, RequestError, Unavailable, UnknownModel
from libs.common.explanation import Question
from libs.common.world import keep_reporting
from libs.common.world_map import (
    Account,
    Assignment,
    Colo,
    Decision,
    Instance,
    Node,
    Ref,
    Report,
    Resource,
    Server,
    Shard,
    ShardLoad,
    Token,
    shard_key,
)
from services.control import app
from services.control.service import Control
from tests.contract.watching import QUICK, Plane, Stream, following, owner, seen, server_report

MODEL = Model(name="@cf/demo/m", task="text-generation", schema={"max": 1}, aliases=("m",))
FAR = Model(name="far", task="text-generation", backend=Backend(external=("10.0.0.1:8001",)))
CATALOG: tuple[Resource, ...] = (Colo(name="ams"), Colo(name="lhr"), MODEL)


@pytest.fixture
async def control(folder: Path) -> AsyncIterator[Control]:
    config = app.Config(state_dir=folder, listen="", report_gone_s=0.3, grace_s=0.3)
    control = app.build(config, catalog=CATALOG)
    async with app.serve(config, control):
        yield control


@pytest.fixture(params=["object", "grpc"])
async def plane(
    request: pytest.FixtureRequest, control: Control, folder: Path
) -> AsyncIterator[Plane]:
    if request.param == "object":
        yield control
    else:
        async with ControlClient(f"unix:{folder}/control.sock") as client:
            yield client


async def test_a_watch_begins_with_everything(plane: Plane) -> None:
    async with aclosing(plane.watch()) as updates:
        first = await anext(updates)

    assert first.complete
    assert MODEL in first.puts
    assert Colo(name="ams") in first.puts


async def test_a_write_is_seen_by_watchers_with_its_version(plane: Plane) -> None:
    async with following(plane) as world:
        before = world.version

        version = await plane.put(Account(id="a1", name="one"))
        await seen(world, lambda world: world.version >= version)

        assert version > before
        assert world.table(Account)["a1"].name == "one"


async def test_writing_the_same_again_changes_nothing(plane: Plane) -> None:
    first = await plane.put(Account(id="a1"))

    assert await plane.put(Account(id="a1")) == first


async def test_a_deleted_resource_is_gone_and_a_missing_one_is_no_error(plane: Plane) -> None:
    await plane.put(Account(id="a1"))
    async with following(plane) as world:
        version = await plane.delete(Ref("account", "a1"))
        await seen(world, lambda world: "a1" not in world.table(Account))

        assert await plane.delete(Ref("account", "a1")) == version


@pytest.mark.parametrize(
    ("resource", "pointer"),
    [
        (Server(name="s", colo="ams", address="x"), "/kind"),
        (Shard(model="m", colo="ams", index=0, owner="s", epoch=9), "/kind"),
        (Account(id=""), ""),
        (Token(hash="h", account="nobody"), "/account"),
        (replace(MODEL, shards=0), "/shards"),
        (Assignment(node="n", model="m", instances=-1), None),
    ],
    ids=["server", "shard", "no name", "no account", "out of range", "negative"],
)
async def test_what_does_not_stand_is_refused(
    plane: Plane, resource: Resource, pointer: str | None
) -> None:
    with pytest.raises(BadInput) as caught:
        await plane.put(resource)

    assert pointer in (None, caught.value.pointer)


async def test_a_kind_that_is_not_written_is_not_deleted_either(plane: Plane) -> None:
    with pytest.raises(BadInput):
        await plane.delete(Ref("shard", "x"))
    with pytest.raises(BadInput):
        await plane.delete(Ref("nonsense", "x"))


async def test_a_reporting_server_gets_the_colos_shards(plane: Plane) -> None:
    async with following(plane) as world:
        stream = Stream(plane)
        stream.say(server_report())
        key = shard_key("ams", MODEL.name, 0)
        await seen(world, lambda world: owner(world, key) == "s1")

        assert world.table(Server)["s1"].boot_epoch == 5
        assert world.table(Shard)[key].epoch == 1
        assert owner(world, shard_key("lhr", MODEL.name, 0)) == ""
        await stream.goodbye()


async def test_a_report_replaces_the_last_one(plane: Plane) -> None:
    load = ShardLoad(model=MODEL.name, colo="ams", index=0, server="s1", rejected={"lhr": 2})
    async with following(plane) as world:
        stream = Stream(plane)
        stream.say(server_report("s1", load))
        await seen(world, lambda world: load.key in world.table(ShardLoad))
        assert world.table(ShardLoad)[load.key] == load
        version = world.version

        stream.say(server_report("s1", load))
        stream.say(server_report("s1"))
        await seen(world, lambda world: load.key not in world.table(ShardLoad))

        assert world.version <= version + 2  # the equal report changed nothing; a shard may move
        await stream.goodbye()


async def test_a_goodbye_removes_a_server_at_once_and_a_loss_later(plane: Plane) -> None:
    async with following(plane) as world:
        first, second = Stream(plane), Stream(plane)
        first.say(server_report("s1"))
        second.say(server_report("s2"))
        await seen(world, lambda world: world.table(Server).keys() == {"s1", "s2"})
        clock = asyncio.get_running_loop().time

        since = clock()
        await first.goodbye()
        await seen(world, lambda world: world.table(Server).keys() == {"s2"})
        assert clock() - since < 0.25

        since = clock()
        await second.lose()
        await seen(world, lambda world: not world.table(Server))
        assert 0.25 < clock() - since < 2


async def test_a_reporter_that_is_back_in_time_is_never_gone(plane: Plane) -> None:
    async with following(plane) as world:
        heard: list[Ref] = []
        stream = Stream(plane)
        stream.say(server_report())
        await seen(world, lambda world: "s1" in world.table(Server))
        world.listen(lambda update: heard.extend(update.deletes))

        await stream.lose()
        again = Stream(plane)
        again.say(server_report())
        await asyncio.sleep(0.5)

        assert heard == []
        assert "s1" in world.table(Server)
        await again.goodbye()


async def test_a_draining_server_gives_its_shards_away_at_once(plane: Plane) -> None:
    async with following(plane) as world:
        first, second = Stream(plane), Stream(plane)
        first.say(server_report("s1"))
        second.say(server_report("s2"))
        key = shard_key("ams", MODEL.name, 0)
        await seen(world, lambda world: len(world.table(Server)) == 2)
        await seen(world, lambda world: owner(world, key) in ("s1", "s2"))
        await asyncio.sleep(0.05)
        before = world.table(Shard)[key]
        leaver, stayer = (first, second) if before.owner == "s1" else (second, first)

        leaver.say(server_report(before.owner, draining=True))
        await seen(world, lambda world: owner(world, key) != before.owner)

        assert world.table(Shard)[key].epoch == before.epoch + 1
        await leaver.goodbye()
        await stayer.goodbye()


async def test_a_nodes_instances_outlive_its_agents_stream(plane: Plane) -> None:
    node = Node(name="n1", colo="ams", cpus=4)
    instance = Instance(id="i1", model=MODEL.name, colo="ams", node="n1", state="ready")
    report = Report(kind="node", name="n1", colo="ams", resources=(node, instance))
    async with following(plane) as world:
        stream = Stream(plane)
        stream.say(report)
        await seen(world, lambda world: "i1" in world.table(Instance))

        await stream.lose()
        await asyncio.sleep(0.5)
        assert "i1" in world.table(Instance)

        again = Stream(plane)
        again.say(replace(report, resources=(node,)))
        await seen(world, lambda world: "i1" not in world.table(Instance))
        await again.goodbye()


async def test_a_name_has_one_live_reporter(plane: Plane) -> None:
    async with following(plane) as world:
        first = Stream(plane)
        first.say(server_report())
        await seen(world, lambda world: "s1" in world.table(Server))

        second = Stream(plane)
        second.say(server_report())
        with pytest.raises(NameTaken):
            await asyncio.wait_for(second.task, 5)

        assert not first.task.done()
        await first.goodbye()


@pytest.mark.parametrize(
    "report",
    [
        Report(kind="entry", name="e", colo="ams", resources=(Node(name="e", colo="ams"),)),
        Report(kind="node", name="n", colo="ams", resources=(Node(name="other", colo="ams"),)),
        Report(kind="server", name="s", colo="nowhere", resources=()),
        Report(kind="server", name="", colo="ams", resources=()),
    ],
    ids=["kind", "name", "colo", "nameless"],
)
async def test_a_report_of_what_is_not_ones_own_is_refused(plane: Plane, report: Report) -> None:
    stream = Stream(plane)
    stream.say(report)

    with pytest.raises(BadInput):
        await asyncio.wait_for(stream.task, 5)


async def test_a_bug_in_the_reports_comes_out_of_report(plane: Plane) -> None:
    async def reports() -> AsyncIterator[Report]:
        yield server_report()
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await asyncio.wait_for(plane.report(reports()), 5)


async def test_keep_reporting_says_goodbye_when_told_to_leave(plane: Plane) -> None:
    leave, wake = asyncio.Event(), asyncio.Event()
    made = 0

    def make_report() -> Report:
        nonlocal made
        made += 1
        return server_report(draining=made > 1)

    async with following(plane) as world:
        task = asyncio.create_task(
            keep_reporting(plane, make_report, every_s=60, wake=wake, leave=leave, backoff=QUICK)
        )
        await seen(world, lambda world: "s1" in world.table(Server))
        wake.set()
        await seen(world, lambda world: world.table(Server)["s1"].draining)
        leave.set()
        await asyncio.wait_for(task, 5)
        await seen(world, lambda world: not world.table(Server))

    assert made == 2


async def test_an_external_address_is_a_ready_instance_in_every_colo(plane: Plane) -> None:
    async with following(plane) as world:
        await plane.put(FAR)
        await seen(world, lambda world: len(world.table(Instance)) == 2)

        found = world.instances(model="far", colo="lhr")
        assert [(each.address, each.state, each.external) for each in found] == [
            ("10.0.0.1:8001", "ready", True)
        ]

        await plane.delete(Ref("model", "far"))
        await seen(world, lambda world: not world.table(Instance))


async def test_explain_tells_the_last_decisions(plane: Plane) -> None:
    decision = Decision(
        model=MODEL.name,
        region="weur",
        at_ms=7,
        demand=1.5,
        forecast=2.0,
        running=1,
        required=2,
        desired=2,
        reason="demand",
    )
    await plane.put(decision)

    assert (await plane.explain(Question(model="m"))).decisions == (decision,)
    with pytest.raises(UnknownModel):
        await plane.explain(Question(model="nothing"))


async def test_a_control_that_is_not_there_is_unavailable(folder: Path) -> None:
    config = app.Config(state_dir=folder)
    async with ControlClient(f"unix:{folder}/nobody.sock") as client:
        for plane in (client, app.build(config, catalog=())):
            with pytest.raises(Unavailable):
                await plane.put(Account(id="a"))
            with pytest.raises(Unavailable):
                await plane.report(no_reports())
        with pytest.raises(Unavailable):
            await anext(client.watch())


async def test_a_control_that_stops_ends_the_streams(plane: Plane, control: Control) -> None:
    stream = Stream(plane)
    stream.say(server_report())
    async with aclosing(plane.watch()) as updates:
        await anext(updates)
        control.stop()
        with pytest.raises(RequestError) as caught:
            async for _ in updates:
                pass
    assert isinstance(caught.value, Unavailable)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(stream.task, 5)


async def no_reports() -> AsyncIterator[Report]:
    return
    yield server_report()
