"""The catalog over a failover: who stood by serves what is in the files, not what it began with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.catalog import Model
from libs.common.catalog_files import load_catalog
from libs.common.world import World
from libs.common.world_map import Colo
from services.control import app
from services.control.service import Control
from tests.short_dirs import short_dir

GOOD = 'name: "@cf/x/one"\ntask: text-generation\nbackend: {external: ["127.0.0.1:8001"]}\n'
TWO = GOOD.replace("one", "two")
FOLDER = "config/models"


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_dir() as made:
        (made / FOLDER).mkdir(parents=True)
        (made / "config/constellation.yaml").write_text("colos:\n  - {name: ams}\n")
        (made / FOLDER / "one.yaml").write_text(GOOD)
        yield made


@dataclass
class Scheduler:
    """A control that is asked to become active, and knows when to end."""

    control: Control
    active: asyncio.Event
    end: asyncio.Event


@asynccontextmanager
async def scheduler(folder: Path, name: str, catalog_s: float) -> AsyncIterator[Scheduler]:
    (folder / name).mkdir()
    config = app.Config(
        name=name,
        state_dir=folder / name,
        listen="",
        store_url=f"sqlite:///{folder}/control.db",
        catalog_dir=folder / "config",
        catalog_s=catalog_s,
        lease_try_s=0.05,
        grace_s=0.0,
    )
    catalog = load_catalog(folder / "config", root=folder)
    control = app.build(config, catalog=[Colo(name="ams"), *catalog.models])
    made = Scheduler(control, asyncio.Event(), asyncio.Event())

    async def run() -> None:
        async with app.serve(config, control):
            made.active.set()
            await made.end.wait()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(run())
        yield made
        made.end.set()


@asynccontextmanager
async def two(folder: Path, *, catalog_s: float) -> AsyncIterator[tuple[Scheduler, Scheduler]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(scheduler(folder, "a", catalog_s))
        await first.active.wait()
        second = await stack.enter_async_context(scheduler(folder, "b", catalog_s))
        while not first.control.has_standby:
            await asyncio.sleep(0.05)
        yield first, second


async def first_world(control: Control) -> list[str]:
    """Return the models that are told first of all."""
    world = World()
    async with aclosing(control.watch()) as updates:
        world.apply(await anext(updates))
    return sorted(world.table(Model))


async def test_what_was_added_since_a_standby_began_is_in_its_first_world(folder: Path) -> None:
    async with two(folder, catalog_s=60.0) as (first, second):
        (folder / FOLDER / "two.yaml").write_text(TWO)

        first.end.set()
        await second.active.wait()

        assert await first_world(second.control) == ["@cf/x/one", "@cf/x/two"]


async def test_a_standby_serves_the_last_good_catalog_where_the_files_have_a_mistake(
    folder: Path,
) -> None:
    async with two(folder, catalog_s=0.05) as (first, second):
        (folder / FOLDER / "two.yaml").write_text(TWO)
        while not (folder / "b/catalog/models/two.yaml").exists():
            await asyncio.sleep(0.05)
        (folder / FOLDER / "one.yaml").write_text("name: x\n")

        first.end.set()
        await second.active.wait()

        assert await first_world(second.control) == ["@cf/x/one", "@cf/x/two"]
        assert "config/models/one.yaml:1: task: required" in second.control.mistakes[-1]


async def test_files_that_do_not_come_to_rest_do_not_hold_up_a_takeover(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.control.catalog_folder.CATCH_UP_S", 0.3)

    async def write_on() -> None:
        for number in range(10_000):
            (folder / FOLDER / "two.yaml").write_text(f"{TWO}#{'.' * number}\n")
            await asyncio.sleep(0.005)

    async with two(folder, catalog_s=0.05) as (first, second):
        writing = asyncio.create_task(write_on())

        first.end.set()
        await second.active.wait()

        assert await first_world(second.control) == ["@cf/x/one"]
        writing.cancel()
