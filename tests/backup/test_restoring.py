"""Restoring: into an empty folder alone, all of it or nothing."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest

from libs.common.databases import sqlite_url
from libs.common.world_map import Account, Instance, Node
from services.analytics.stores.duckdb import DuckDBStore
from services.backup import archive, restoring
from services.backup.manifest import CannotBackUp
from services.control.store import SqlStore
from services.state_folder import state_folder

ACCOUNT = Account(id="0" * 32)


@pytest.fixture
async def parts(folder: Path) -> Path:
    """What a backup is made of; a test may change it."""
    state = folder / "parts/state"
    (state / "keys").mkdir(parents=True)
    (state / "token").write_text("t")
    (state / "keys/gpu").write_text("k")
    store = SqlStore(sqlite_url(state / "control.db"))
    await store.open()
    assert await store.take_lease(await store.lease(), "up on elsewhere")
    there = Instance(id="i", model="m", colo="ams", node="n", state="ready")
    await store.write([ACCOUNT, Node(name="n", colo="ams"), there])
    await store.close()
    async with DuckDBStore(state / "events.duckdb"):
        pass
    (folder / "parts/config").mkdir()
    (folder / "parts/config/constellation.yaml").write_text("colos: []\n")
    return folder / "parts"


def restored(
    parts: Path, env: Mapping[str, str] | None = None, **changes: Path
) -> tuple[Path, Path]:
    """Make a backup and restore it; return the state folder and where the configuration is."""
    folder = parts.parent
    archive.write(parts, folder / "b.tar.gz", left_out=())
    where = {"state_dir": folder / "s", "config_dir": folder / "c"} | changes
    _, config = restoring.restore(folder / "b.tar.gz", **where, env=env or {})
    return where["state_dir"], config


async def test_all_is_there_and_nobody_holds_the_lease(parts: Path) -> None:
    state, config = restored(parts)

    assert (state / "keys/gpu").read_text() == "k"
    assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "keys").stat().st_mode) == 0o700
    assert (config / "constellation.yaml").read_text() == "colos: []\n"
    assert not (state / restoring.RESTORING).exists()
    store = SqlStore(sqlite_url(state / "control.db"))
    assert await store.open() == [ACCOUNT]  # nodes that there are say so themselves
    assert (await store.lease()).holder == ""
    await store.close()


def test_it_goes_into_an_empty_folder_that_is_there(parts: Path) -> None:
    (parts.parent / "s").mkdir()

    state, _ = restored(parts)

    assert (state / "control.db").exists()


def test_a_configuration_that_is_there_stays(parts: Path) -> None:
    (parts.parent / "c").mkdir()
    (parts.parent / "c/constellation.yaml").write_text("colos: [{name: mine}]\n")

    state, config = restored(parts)

    assert config == state / restoring.ASIDE
    assert (config / "constellation.yaml").read_text() == "colos: []\n"
    assert "mine" in (parts.parent / "c/constellation.yaml").read_text()


def test_the_same_configuration_is_left_alone(parts: Path) -> None:
    (parts.parent / "c").mkdir()
    (parts.parent / "c/constellation.yaml").write_text("colos: []\n")

    _, config = restored(parts)

    assert config == parts.parent / "c"


def test_a_folder_in_use_is_refused_with_who_uses_it(parts: Path) -> None:
    with (
        state_folder(parts.parent / "s", owner="up"),
        pytest.raises(CannotBackUp, match=r"s is in use by up \(pid \d+\): stop that"),
    ):
        restored(parts)

    assert [each.name for each in (parts.parent / "s").iterdir()] == ["up.lock"]


def test_a_folder_with_something_in_it_is_refused(parts: Path) -> None:
    (parts.parent / "s").mkdir()
    (parts.parent / "s/control.db").write_text("mine")

    with pytest.raises(CannotBackUp, match=r"is not empty, there is control\.db: move it away"):
        restored(parts)
    assert (parts.parent / "s/control.db").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("control.db", r"control\.db cannot be opened: file is not a database"),
        ("events.duckdb", r"events\.duckdb cannot be opened"),
    ],
)
def test_a_broken_store_is_not_restored(parts: Path, name: str, why: str) -> None:
    (parts / "state" / name).write_text("not a store" * 1000)

    with pytest.raises(CannotBackUp, match=why):
        restored(parts)
    assert not (parts.parent / "s").exists()


def test_events_of_a_newer_version_are_not_restored(parts: Path) -> None:
    with duckdb.connect(str(parts / "state/events.duckdb")) as events:
        events.execute("INSERT INTO schema_version VALUES (999)")

    with pytest.raises(CannotBackUp, match="newer version"):
        restored(parts)


def test_a_disk_without_room_is_told_before_anything_is_written(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(parts)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)

    with pytest.raises(CannotBackUp, match=r"there is no room in .*/s: \d+ bytes needed, 10 free"):
        restored(parts)
    assert not (parts.parent / "s").exists()


@pytest.fixture
def finetune(parts: Path) -> str:
    """A file of a finetune is in the backup; its name."""
    (parts / "state/assets").mkdir()
    (parts / "state/assets" / ("a" * 64)).write_text("adapter")
    return "a" * 64


@pytest.mark.parametrize("said", ["environment", "there", "in the backup"])
def test_parts_go_where_the_settings_keep_them(parts: Path, finetune: str, said: str) -> None:
    at = parts.parent / "srv"
    stores = f"sqlite:///{at}/c.db", f"sqlite:///{at}/s.db"
    (parts / "state/scheduler.db").write_bytes((parts / "state/control.db").read_bytes())
    text = f"control: {{assets: {at}/assets, store_url: '{stores[0]}'}}\n"
    text += f"scheduler: {{store_url: '{stores[1]}'}}\n"
    env = {}
    if said == "environment":
        env["CONSTELLATION_CONTROL_ASSETS"] = f"{at}/assets"
        env["CONSTELLATION_CONTROL_STORE_URL"], env["CONSTELLATION_SCHEDULER_STORE_URL"] = stores
    elif said == "there":
        (parts.parent / "c").mkdir()
        (parts.parent / "c/constellation.yaml").write_text(text)
    else:
        (parts / "config/constellation.yaml").write_text(text)

    state, _ = restored(parts, env)

    found = {str(each.relative_to(at)) for each in at.rglob("*") if each.is_file()}
    assert found == {"c.db", "s.db", f"assets/{finetune}"}
    assert (at / "assets" / finetune).read_text() == "adapter"
    assert stat.S_IMODE((at / "assets" / finetune).stat().st_mode) == 0o600
    assert not {"assets", "control.db", "scheduler.db"} & {each.name for each in state.iterdir()}


def test_a_volume_that_is_there_gets_what_it_lacks(parts: Path, finetune: str) -> None:
    at = parts.parent / "assets"
    at.mkdir()
    (at / ("b" * 64)).write_text("another")

    restored(parts, {"CONSTELLATION_CONTROL_ASSETS": str(at)})

    assert {each.name for each in at.iterdir()} == {finetune, "b" * 64}


def test_a_store_elsewhere_is_not_replaced(parts: Path) -> None:
    store = parts.parent / "c.db"
    store.write_text("mine")

    with pytest.raises(CannotBackUp, match=r"c\.db is there already, for control\.db"):
        restored(parts, {"CONSTELLATION_CONTROL_STORE_URL": f"sqlite:///{store}"})

    assert store.read_text() == "mine"
    assert not (parts.parent / "s").exists()


def test_what_cannot_be_brought_leaves_nothing(parts: Path, finetune: str) -> None:
    (parts.parent / "x").write_text("no folder")
    env = {
        "CONSTELLATION_CONTROL_ASSETS": str(parts.parent / "srv/assets"),
        "CONSTELLATION_SCHEDULER_STORE_URL": f"sqlite:///{parts.parent}/x/s.db",
    }
    (parts / "state/scheduler.db").write_bytes((parts / "state/control.db").read_bytes())

    with pytest.raises(CannotBackUp, match=r"x/s\.db cannot be written: File exists"):
        restored(parts, env)

    assert not (parts.parent / "s").exists()
    assert not (parts.parent / "srv/assets" / finetune).exists()
