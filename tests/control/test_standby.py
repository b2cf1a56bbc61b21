"""Two controls on one store, in processes of their own: what the second does for the first."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest

from libs.common.backoff import Backoff
from libs.common.clients import control as clients
from libs.common.clients.control import ControlClient
from libs.common.errors import Unavailable
from libs.common.lifecycle import background
from libs.common.world import World, follow, keep_reporting
from libs.common.world_map import Account, Colo, Node, Report, Shard
from services.control import app, grpc_api
from tests.short_dirs import short_dir
from tests.system.harness import free_ports

pytestmark = pytest.mark.timeout(60)
LEASE_S = 3.0
FILE = "sqlite:///"
CONTROL = """
import asyncio, logging, sys
from pathlib import Path
from libs.common.catalog import Model
from libs.common.world_map import Colo
from services.control import app

async def main() -> None:
    folder, name, listen, store_url = Path(sys.argv[1]), *sys.argv[2:5]
    config = app.Config(
        state_dir=folder, name=name, listen=listen, store_url=store_url, token="t",
        lease_s=float(sys.argv[5]), lease_try_s=0.2, grace_s=1.0, report_gone_s=1.0,
    )
    catalog = [Colo(name="ams"), Model(name="m", task="text-generation")]
    print("stands by", flush=True)
    async with app.serve(config, app.build(config, catalog=catalog)):
        print("active", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
QUICK = Backoff(first_s=0.05, most_s=0.2)


class Process:
    """A control that says when it is active."""

    def __init__(self, folder: Path, name: str, listen: str, store: str) -> None:
        self.folder, self._store = folder, store
        self._arguments = [str(folder), name, listen, store, str(LEASE_S)]

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CONTROL, *self._arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        assert await self._line() == b"stands by\n"

    async def is_active(self) -> None:
        assert await self._line() == b"active\n"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Stop it while it holds no lock on the store: a file's would keep all others out.

        PostgreSQL ends the connection of one that hangs.
        """
        while True:
            self.signal(signal.SIGSTOP)
            if not self._store.startswith(FILE):
                return
            file = self._store.removeprefix(FILE)
            with closing(sqlite3.connect(file, isolation_level=None, timeout=0.1)) as store:
                try:
                    store.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError:
                    self.signal(signal.SIGCONT)
            await asyncio.sleep(0.05)

    async def ended(self) -> tuple[int, str]:
        _, said = await asyncio.wait_for(self._process.communicate(), 20)
        assert self._process.returncode is not None
        return self._process.returncode, said.decode()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await asyncio.wait_for(self._process.stdout.readline(), 30)


@asynccontextmanager
async def two_controls(store: str) -> AsyncIterator[tuple[Process, Process, ControlClient, World]]:
    """The first is active; a client knows both addresses, and has a world that follows."""
    ports = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with short_dir() as folder:
        first, second = (
            Process(folder / name, name, listen, store)
            for name, listen in zip("ab", ports, strict=True)
        )
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(ControlClient(",".join(ports)))
            for each in (first, second):
                await each.start()
                stack.push_async_callback(each.kill)
                if each is first:
                    await each.is_active()
            world = World()
            await stack.enter_async_context(
                background(follow(client, world, backoff=QUICK), name="w")
            )
            await asyncio.wait_for(world.until(lambda world: world.complete), 10)
            yield first, second, client, world


@asynccontextmanager
async def a_node(client: ControlClient, world: World) -> AsyncIterator[None]:
    report = Report(kind="node", name="n", colo="ams", resources=(Node(name="n", colo="ams"),))
    reporting = keep_reporting(client, lambda: report, every_s=0.1, backoff=QUICK)
    async with background(reporting, name="n") as task:
        await asyncio.wait_for(world.until(lambda world: "n" in world.table(Node)), 10)
        yield
        assert not task.done()


async def test_a_standby_answers_nobody_until_it_replaces_the_one_that_is_killed(
    database_url: str,
) -> None:
    async with two_controls(database_url) as (first, second, client, world), a_node(client, world):
        async with ControlClient(f"unix:{second.folder}/control.sock") as standby:
            with pytest.raises(Unavailable):
                await standby.put(Account(id="a"))
        await client.put(Account(id="a", name="kept"))
        async with asyncio.timeout(10):
            while not ((told := await client.status()) and told.has_standby):
                await asyncio.sleep(0.1)
        assert told.name == "a"
        before, version = dict(world.table(Shard)), world.version

        await first.kill()
        killed = time.monotonic()
        await second.is_active()
        await asyncio.wait_for(world.until(lambda world: world.version > version + 1), 15)
        await asyncio.wait_for(world.until(lambda world: "n" in world.table(Node)), 15)

        assert time.monotonic() - killed < LEASE_S + 12
        assert world.table(Account)["a"].name == "kept"
        assert world.table(Shard) == before
        await client.put(Account(id="b"))


async def test_a_control_that_was_stopped_finds_the_other_active_and_ends(
    database_url: str,
) -> None:
    async with two_controls(database_url) as (first, second, client, world):
        async with a_node(client, world):
            await first.stop()
            await second.is_active()
            version = world.version
            await asyncio.wait_for(world.until(lambda world: world.version > version), 20)
            await asyncio.wait_for(world.until(lambda world: "n" in world.table(Node)), 20)
            await client.put(Account(id="a", name="by the second"))

        first.signal(signal.SIGCONT)
        code, said = await first.ended()

        assert code != 0
        assert "another control is active by now" in said
        assert world.table(Account)["a"].name == "by the second"


async def test_a_control_that_says_nothing_is_given_up_and_one_that_lives_shows_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = app.Config(state_dir=folder, listen="", grace_s=0.0)
    monkeypatch.setattr(clients, "SILENT_S", 0.3)
    async with (
        app.serve(config, app.build(config, catalog=[Colo(name="ams")])) as (address, *_),
        ControlClient(address) as client,
    ):
        monkeypatch.setattr(grpc_api, "SIGN_S", 0.05)
        async with aclosing(client.watch()) as updates:
            await anext(updates)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(updates), 1.0)

        monkeypatch.setattr(grpc_api, "SIGN_S", 9.0)
        async with aclosing(client.watch()) as updates:
            await anext(updates)
            with pytest.raises(Unavailable, match="control is silent"):
                await asyncio.wait_for(anext(updates), 1.0)
