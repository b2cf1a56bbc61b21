"""How the files of uploaded finetunes come to a node, and stay there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.catalog import Asset, Finetune
from libs.common.clock import SystemClock
from libs.common.errors import Unavailable, UnknownFinetune
from libs.common.lifecycle import background
from libs.common.world import World
from libs.common.world_map import Assignment, Ref, Update
from services.node.fetching import Fetching
from tests.adapters import CONFIG, WEIGHTS, config, weights
from tests.fakes import put
from tests.waiting import until

CONTENTS = {CONFIG: config(), WEIGHTS: weights()}


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


class Source:
    """Files by their digest; as slow, broken or far away as the test wants them."""

    def __init__(self) -> None:
        self.files = {digest(raw): raw for raw in CONTENTS.values()}
        self.error: Exception | None = None
        self.asked = 0

    async def fetch(self, sha256: str) -> AsyncGenerator[bytes, None]:
        self.asked += 1
        if sha256 not in self.files:
            raise UnknownFinetune(sha256)
        raw = self.files[sha256]
        for at in range(0, len(raw), 100):
            if self.error and at:
                raise self.error
            yield raw[at : at + 100]


def finetune(id_: str = "f1", *files: str, model: str = "m") -> Finetune:
    given = [(file, CONTENTS[file]) for file in files or CONTENTS]
    assets = tuple(Asset(file=f, size=len(raw), sha256=digest(raw)) for f, raw in given)  # type: ignore[arg-type]
    return Finetune(id=id_, name=id_, model=model, account="a", assets=assets)


@pytest.fixture
def world() -> World:
    made = World()
    made.apply(
        Update(version=1, complete=True, puts=(Assignment(node="n", model="m", instances=1),))
    )
    return made


@asynccontextmanager
async def fetching(world: World, source: Source, folder: Path) -> AsyncIterator[Fetching]:
    made = Fetching(
        node="n",
        folder=folder,
        source=source,
        world=world,
        clock=SystemClock(),
        at_once=2,
        step_s=0.02,
        longest_backoff_s=0.05,
    )
    await made.take_stock()
    async with background(made.run(), name="fetching"):
        yield made


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_finetune_is_fetched_as_soon_as_it_is_complete(
    world: World, tmp_path: Path
) -> None:
    source = Source()
    async with fetching(world, source, tmp_path) as node:
        put(world, finetune("f1", CONFIG), finetune("f2", model="another"))
        assert node.adapter("f1") is None
        put(world, finetune("f1"))
        await until(lambda: node.adapter("f1"))

        assert held(tmp_path / "f1") == CONTENTS
        assert node.adapter("f2") is None  # this node does not run its model
        assert source.asked == 2


async def test_what_was_fetched_is_not_fetched_again_after_a_restart(
    world: World, tmp_path: Path
) -> None:
    put(world, finetune("f1"))
    source = Source()
    async with fetching(world, source, tmp_path) as node:
        await until(lambda: node.adapter("f1"))
    (tmp_path / ".f2").mkdir()
    (tmp_path / "left").mkdir()

    async with fetching(world, source, tmp_path) as node:
        assert node.adapter("f1")  # before anything else could be done without it
        await until(lambda: [path.name for path in tmp_path.iterdir()] == ["f1"])
        assert source.asked == 2


async def test_what_a_loss_of_power_has_cut_is_fetched_again(world: World, tmp_path: Path) -> None:
    put(world, finetune("f1"))
    source = Source()
    (tmp_path / "f1").mkdir()
    (tmp_path / "f1" / CONFIG).write_bytes(config())
    (tmp_path / "f1" / WEIGHTS).write_bytes(b"")

    async with fetching(world, source, tmp_path) as node:
        await until(lambda: source.asked == 2 and node.adapter("f1"))
        assert held(tmp_path / "f1") == CONTENTS


async def test_a_deleted_finetune_is_removed(world: World, tmp_path: Path) -> None:
    async with fetching(world, Source(), tmp_path) as node:
        put(world, finetune("f1"), finetune("f2"))
        await until(lambda: node.adapter("f1") and node.adapter("f2"))
        world.apply(Update(version=world.version + 1, deletes=(Ref("finetune", "f1"),)))
        await until(lambda: not (tmp_path / "f1").exists())

        assert node.adapter("f1") is None
        assert node.adapter("f2") == tmp_path / "f2"


@pytest.mark.parametrize("error", [Unavailable("away"), OSError(28, "full"), KeyError("a bug")])
async def test_what_fails_is_tried_again_and_leaves_nothing_half_there(
    world: World, tmp_path: Path, error: Exception
) -> None:
    source = Source()
    source.error = error
    async with fetching(world, source, tmp_path) as node:
        put(world, finetune("f1"))
        await until(lambda: source.asked >= 3)
        assert node.adapter("f1") is None
        assert not (tmp_path / "f1").exists()
        source.error = None
        await until(lambda: node.adapter("f1"))


@pytest.mark.parametrize("damage", [b"x" + weights()[1:], weights()[:-1], weights() + b"x"])
async def test_damaged_bytes_are_never_taken(world: World, tmp_path: Path, damage: bytes) -> None:
    source = Source()
    source.files[digest(weights())] = damage
    async with fetching(world, source, tmp_path) as node:
        put(world, finetune("f1"))
        await until(lambda: source.asked >= 3)
        assert node.adapter("f1") is None
        source.files[digest(weights())] = weights()
        await until(lambda: node.adapter("f1"))


async def test_one_that_cannot_be_had_holds_up_no_other(world: World, tmp_path: Path) -> None:
    source = Source()
    lost = Asset(file=CONFIG, size=1, sha256="0" * 64)
    bad = Finetune(id="bad", name="bad", model="m", assets=(lost, *finetune("x").assets[1:]))
    async with fetching(world, source, tmp_path) as node:
        put(world, bad)
        put(world, finetune("f1"))
        await until(lambda: node.adapter("f1"))
        assert node.adapter("bad") is None
    shutil.rmtree(tmp_path)
