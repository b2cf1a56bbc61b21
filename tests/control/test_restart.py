"""A control that is killed and comes back: nobody forgets anything that still holds."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from libs.common.backoff import Backoff
from libs.common.clients.control import ControlClient
from libs.common.lifecycle import background
from libs.common.messages import SnapshotOnDisk
from libs.common.tokens import token_hash
from libs.common.world import World, follow, keep_reporting
from libs.common.world_map import Account, Ref, Report, Server, Shard, Token, Update

CONTROL = """
import asyncio, sys
from pathlib import Path
from libs.common.catalog import Model
from libs.common.world_map import Colo
from services.control import app

async def main() -> None:
    folder, grace_s, token = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    config = app.Config(
        state_dir=folder, listen="", grace_s=grace_s, report_gone_s=grace_s, token=token
    )
    models = [Model(name=f"m{i}", task="text-generation") for i in range(16)]
    async with app.serve(config, app.build(config, catalog=[Colo(name="ams"), *models])):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
QUICK = Backoff(first_s=0.05, most_s=0.2)


class Process:
    """A control in a process of its own."""

    def __init__(self, folder: Path, grace_s: float) -> None:
        self.folder, self.grace_s = folder, grace_s
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, token: str = "t") -> None:
        command = [sys.executable, "-c", CONTROL, str(self.folder), str(self.grace_s), token]
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        assert self.process.stdout is not None
        assert await asyncio.wait_for(self.process.stdout.readline(), 20) == b"ready\n"

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def control_process(folder: Path, grace_s: float = 3.0) -> AsyncIterator[Process]:
    process = Process(folder, grace_s)
    try:
        await process.start()
        yield process
    finally:
        await process.kill()


def reporting(client: ControlClient, name: str) -> object:
    server = Server(name=name, colo="ams", address="x")
    report = Report(kind="server", name=name, colo="ams", resources=(server,))
    return background(keep_reporting(client, lambda: report, every_s=0.1, backoff=QUICK), name=name)


def owners(world: World) -> dict[str, tuple[str, int]]:
    return {key: (shard.owner, shard.epoch) for key, shard in world.table(Shard).items()}


async def seen(world: World, condition: object) -> None:
    await asyncio.wait_for(world.until(condition), 15)  # type: ignore[arg-type]


async def test_a_killed_control_comes_back_with_all_that_holds(folder: Path) -> None:
    async with control_process(folder) as process, AsyncExitStack() as stack:
        client = await stack.enter_async_context(ControlClient(f"unix:{folder}/control.sock"))
        world = World()
        heard: list[Update] = []
        await stack.enter_async_context(background(follow(client, world, backoff=QUICK), name="w"))
        for name in ("s1", "s2"):
            await stack.enter_async_context(reporting(client, name))  # type: ignore[arg-type]
        await seen(world, lambda world: len(world.table(Server)) == 2)
        await seen(world, lambda world: {"s1", "s2"} == {o for o, _ in owners(world).values()})
        await asyncio.sleep(0.2)
        await client.put(Account(id="a", name="kept"))
        await seen(world, lambda world: "a" in world.table(Account))
        before, version = owners(world), world.version
        world.listen(heard.append)

        await process.kill()
        await process.start()
        await seen(world, lambda world: world.version > version and bool(heard))
        await asyncio.sleep(0.5)

        assert heard[0].complete
        assert len([each for each in heard[0].puts if isinstance(each, Server)]) == 2
        assert owners(world) == before
        assert world.table(Account)["a"].name == "kept"
        assert not [ref for update in heard for ref in update.deletes]


async def test_owners_that_are_not_back_within_the_grace_are_replaced(folder: Path) -> None:
    async with control_process(folder, 0.6) as process, AsyncExitStack() as stack:
        client = await stack.enter_async_context(ControlClient(f"unix:{folder}/control.sock"))
        world = World()
        await stack.enter_async_context(background(follow(client, world, backoff=QUICK), name="w"))
        async with reporting(client, "s1"):  # type: ignore[attr-defined]
            await seen(world, lambda world: {o for o, _ in owners(world).values()} == {"s1"})
        before = owners(world)

        await process.kill()
        version = world.version
        await process.start()
        await stack.enter_async_context(reporting(client, "s2"))  # type: ignore[arg-type]
        await seen(world, lambda world: world.version > version)
        await seen(world, lambda world: {o for o, _ in owners(world).values()} == {"s2"})

        assert all(epoch > before[key][1] for key, (_, epoch) in owners(world).items())


async def test_another_token_replaces_the_first(folder: Path) -> None:
    async with control_process(folder) as process:
        await process.kill()
        await process.start(token="another")
        async with ControlClient(f"unix:{folder}/control.sock") as client:
            first = await anext(client.watch())

    hashes = [each.hash for each in first.puts if isinstance(each, Token)]
    assert hashes == [token_hash("another")]


async def test_a_service_that_starts_without_control_goes_on_from_disk(folder: Path) -> None:
    disk = SnapshotOnDisk(folder / "kept" / "snapshot.pb")
    address = f"unix:{folder}/control.sock"
    async with control_process(folder), ControlClient(address) as client:
        await client.put(Account(id="a"))
        world = World()
        async with background(follow(client, world, disk=disk, backoff=QUICK), name="w"):
            await seen(world, lambda world: "a" in world.table(Account))
            await client.put(Account(id="b"))
            await seen(world, lambda world: "b" in world.table(Account))

    later = World()
    async with (
        ControlClient(address) as client,
        background(follow(client, later, disk=disk, backoff=QUICK), name="w"),
    ):
        await seen(later, lambda world: world.complete)
        assert {"a", "b"} <= later.table(Account).keys()
        assert later.everything().puts == world.everything().puts


async def test_a_clean_stop_leaves_no_socket_behind_for_the_next(folder: Path) -> None:
    async with control_process(folder) as process:
        assert process.process is not None
        await process.kill()
        assert (folder / "control.sock").exists()
        await process.start()
        async with ControlClient(f"unix:{folder}/control.sock") as client:
            await client.delete(Ref("account", "none"))
