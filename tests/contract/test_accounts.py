"""Accounts over a real control and two entries, over gRPC: limits are shared, tokens revoked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from libs.common.backoff import Backoff
from libs.common.clients.control import ControlClient
from libs.common.lifecycle import background
from libs.common.tokens import token_hash
from libs.common.world import World, follow, keep_reporting
from libs.common.world_map import Account, Colo, Ref, Token
from services.control import app as control_app
from services.control.service import Control
from services.entry import app as entry_app
from services.entry.app import Entry
from tests.entry.fakes import ACCOUNT, SECRET, TEXT_MODEL, FakeServer, entry_of, place, says
from tests.fakes import put

TASK = "text-generation"
RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT_MODEL.name}"
QUICK = Backoff(first_s=0.02, most_s=0.1)


@dataclass
class Cluster:
    """A control, and entries that follow it and report to it."""

    folder: Path
    control: Control
    entries: list[Entry]
    addresses: list[str]
    tasks: list[asyncio.Task[None]]

    async def status(self, at: int, secret: str = SECRET) -> int:
        """Run a call at one of the entries."""
        headers = {"Authorization": f"Bearer {secret}"}
        async with (
            aiohttp.ClientSession() as client,
            client.post(
                f"http://{self.addresses[at]}{RUN}", json={"prompt": "hi"}, headers=headers
            ) as response,
        ):
            return response.status

    async def served(self, at: int, calls: int) -> int:
        return [await self.status(at) for _ in range(calls)].count(200)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    """Wait for something, and return how long it took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - began


@asynccontextmanager
async def an_entry(folder: Path, name: str) -> AsyncIterator[tuple[Entry, str, asyncio.Task[None]]]:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(ControlClient(f"unix:{folder}/control.sock"))
        world = World()
        following = follow(plane, world, backoff=QUICK)
        told = await stack.enter_async_context(background(following, name="world"))
        await asyncio.wait_for(world.until(lambda world: world.complete), 10)
        config = entry_app.Config(name=name, colo="ams", http="127.0.0.1:0", grpc="", drain_s=0.1)
        made = entry_of(world, {"ams": FakeServer(says("hi"))}, config=config)
        reports = keep_reporting(
            plane,
            made.report,
            every_s=0.1,
            pause_s=0.05,
            granted=made.limiter.granted,
            backoff=QUICK,
        )
        await stack.enter_async_context(background(reports, name="reports"))
        bound = await stack.enter_async_context(entry_app.serve(config, made))
        yield made, bound.http, told


@asynccontextmanager
async def a_control(folder: Path, *more: Any, **settings: Any) -> AsyncIterator[Control]:
    config = control_app.Config(
        state_dir=folder, listen="", grace_s=0.1, spent_s=0.05, token=SECRET, **settings
    )
    made = control_app.build(config, catalog=[Colo(name="ams"), TEXT_MODEL, *more])
    async with control_app.serve(config, made):
        yield made


@asynccontextmanager
async def a_cluster(folder: Path, entries: int = 2) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(a_control(folder))
        started = [
            await stack.enter_async_context(an_entry(folder, f"entry-{at}"))
            for at in range(entries)
        ]
        made = [each[0] for each in started]
        for each in made:  # control knows no server, so none of its owners is there: place them
            serve_locally(each)
        yield Cluster(folder, control, made, [e[1] for e in started], [e[2] for e in started])


def serve_locally(entry: Entry) -> None:
    """Let the entry's world have the fake server, whatever control says, and whenever it does."""
    is_ours = False

    def serve(_: object = None) -> None:
        nonlocal is_ours
        if not is_ours:
            is_ours = True
            put(entry._world, *place(TEXT_MODEL.name, "ams"))
            is_ours = False

    entry._world.listen(serve)
    serve()


async def test_two_entries_let_through_what_one_limit_says(folder: Path) -> None:
    async with a_cluster(folder) as cluster:
        await cluster.control.put(Account(id=ACCOUNT, requests_per_minute={TASK: 40}))
        await until(lambda: all(e.limiter.limited for e in cluster.entries))
        await until(lambda: [e.limiter.parts.even for e in cluster.entries] == [0.5, 0.5])

        served = await asyncio.gather(*(cluster.served(at, 30) for at in (0, 1)))

        # As much as there is at once, less what was lost as shares moved, and what came back.
        assert 34 <= sum(served) <= 43
        name = f"{ACCOUNT}/{TASK}"
        await until(lambda: name in cluster.entries[1].limiter.parts.named)


async def test_a_revoked_token_opens_nothing_within_a_second(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_cluster(folder) as cluster:
        token = Token(hash=token_hash("theirs"), account=ACCOUNT)
        await cluster.control.put(token)
        await until(lambda: all(token.hash in e._world.table(Token) for e in cluster.entries))
        before = [await cluster.status(at, "theirs") for at in (0, 1)]

        began = time.monotonic()
        await cluster.control.delete(Ref("token", token.hash))
        took: Sequence[float] = [await refused_after(cluster, at, began) for at in (0, 1)]

        with capsys.disabled():
            print(f"\nrevoked on both entries within {max(took) * 1000:.0f} ms")  # noqa: T201
        assert before == [200, 200]
        assert max(took) < 1.0


async def refused_after(cluster: Cluster, at: int, began: float) -> float:
    while await cluster.status(at, "theirs") != 401:
        assert time.monotonic() - began < 1.0
    return time.monotonic() - began


async def test_a_cut_off_entry_hears_of_a_revoked_token_when_control_is_back(
    folder: Path,
) -> None:
    token = Token(hash=token_hash("theirs"), account=ACCOUNT)
    async with AsyncExitStack() as away:
        control = await away.enter_async_context(a_control(folder))
        await control.put(token)
        async with an_entry(folder, "entry") as (entry, _, _):
            await away.aclose()
            async with a_control(folder) as again:
                await again.delete(Ref("token", token.hash))
                took = await until(lambda: token.hash not in entry._world.table(Token))

    assert took < 2.0


async def test_what_was_spent_today_outlives_control(folder: Path) -> None:
    name = f"{ACCOUNT}/neurons"
    async with a_control(folder) as control:
        await control.put(Account(id=ACCOUNT, neurons_per_day=100.0))
        async with an_entry(folder, "entry") as (entry, _, _):
            await until(lambda: ACCOUNT in entry.limiter.limited)
            await until(lambda: entry.limiter.parts.even == 1.0)
            budget = entry.limiter.limited[ACCOUNT].day_budget(time.time_ns() // 86_400_000_000_000)
            assert budget
            budget.take(70.0, budget.day)
            await until(lambda: bool(control._sharing.spent()))

    async with a_control(folder) as control, an_entry(folder, "another") as (entry, _, _):
        await until(lambda: name in entry.limiter.parts.named)

        assert control._sharing.spent()[name][0] == 70.0
        assert entry.limiter.parts.named[name] == pytest.approx(0.3)
