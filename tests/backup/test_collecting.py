"""What a backup takes of a state folder in which nothing runs, and what it says of the rest."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from libs.common.catalog import Asset, Finetune
from libs.common.config import load_config
from libs.common.databases import sqlite_url
from libs.common.world_map import Resource
from services.analytics.stores.duckdb import DuckDBStore
from services.backup.collecting import Collecting
from services.backup.manifest import CannotBackUp
from services.backup.sources import Sources, sources
from services.control.store import SqlStore
from tests.analytics.support import batch

KEPT, OTHER, LOST = "a" * 64, "b" * 64, "c" * 64
HOLDING = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def finetune(digest: str) -> Finetune:
    asset = Asset(file="adapter_config.json", size=1, sha256=digest)
    return Finetune(id=digest[:8], name=digest[:8], model="m", account="x", assets=(asset,))


async def store_with(path: Path, resources: Sequence[Resource]) -> None:
    store = SqlStore(sqlite_url(path))
    await store.open()
    await store.write(resources)
    await store.close()


@pytest.fixture
def found(folder: Path) -> Sources:
    state, config = folder / "state", folder / "config"
    for each in (state / "assets/incoming", state / "keys", config / "models"):
        each.mkdir(parents=True)
    (config / "constellation.yaml").write_text("colos: []\n")
    return sources(load_config(config, {}), state_dir=state, config_dir=config)


async def collected(found: Sources, folder: Path) -> tuple[set[str], list[str]]:
    collecting = Collecting(found, folder / "parts", copy_s=10)
    await collecting.run()
    names = {
        each.relative_to(folder / "parts").as_posix()
        for each in (folder / "parts").rglob("*")
        if each.is_file()
    }
    return names, collecting.missing


async def test_all_that_cannot_be_made_again_is_taken(found: Sources, folder: Path) -> None:
    state = found.state_dir
    await store_with(state / "control.db", [finetune(KEPT)])
    async with DuckDBStore(state / "events.duckdb") as store:
        await store.write([batch(1, 5)])
    (state / "spool/server/1").mkdir(parents=True)
    for name in ("token", "keys/gpu", "spool/server/1/1.events", f"assets/{KEPT}", "up.lock"):
        (state / name).write_text("x")
    for name in (f"assets/{OTHER}", "assets/incoming/half", "entry-a.snapshot"):
        (state / name).write_text("not needed")

    names, missing = await collected(found, folder)

    assert names == {
        "config/constellation.yaml",
        "state/token",
        "state/keys/gpu",
        "state/spool/server/1/1.events",
        "state/events.duckdb",
        "state/control.db",
        f"state/assets/{KEPT}",
    }
    assert missing == []
    with duckdb.connect(str(folder / "parts/state/events.duckdb")) as events:
        assert events.execute("SELECT count(*) FROM inference_events").fetchall() == [(5,)]


async def test_a_file_that_the_store_names_and_nobody_has_is_told(
    found: Sources, folder: Path
) -> None:
    await store_with(found.state_dir / "control.db", [finetune(KEPT), finetune(LOST)])
    (found.state_dir / "assets" / KEPT).write_text("x")

    names, missing = await collected(found, folder)

    assert f"state/assets/{KEPT}" in names
    assert missing == [
        f"a finetune's file was not there: {found.state_dir / 'assets' / LOST}",
    ]


async def test_a_finetune_that_is_uploaded_meanwhile_is_whole(
    found: Sources, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.backup import collecting

    await store_with(found.state_dir / "control.db", [])
    copies = collecting._copy_sqlite

    def copy(path: Path, to: Path) -> None:
        (found.state_dir / "assets" / OTHER).write_text("x")
        with closing(sqlite3.connect(path)) as store:
            row = (
                "finetune",
                OTHER,
                f'{{"id":"f","name":"f","model":"m","account":"x","assets":[{{'
                f'"file":"adapter_config.json","size":1,"sha256":"{OTHER}"}}]}}',
            )
            store.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?)", row)
            store.commit()
        copies(path, to)

    monkeypatch.setattr(collecting, "_copy_sqlite", copy)
    names, missing = await collected(found, folder)

    assert f"state/assets/{OTHER}" in names
    assert missing == []


async def test_events_that_another_program_has_open_are_an_error(
    found: Sources, folder: Path
) -> None:
    path = found.state_dir / "events.duckdb"
    async with DuckDBStore(path):
        pass
    command = [sys.executable, "-c", HOLDING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holding:
        assert holding.stdout
        assert holding.stdout.readline() == b"open\n"

        with pytest.raises(
            CannotBackUp, match=r"the events cannot be copied: .*Could not set lock"
        ):
            await collected(found, folder)
        assert holding.stdin
        holding.stdin.close()


async def test_stores_elsewhere_are_named_without_their_passwords(folder: Path) -> None:
    (folder / "constellation.yaml").write_text(
        "control: {store_url: 'postgresql+pg8000://c:secret@db/c'}\n"
        "analytics: {stores: [kafka, clickhouse]}\n"
    )

    found = sources(load_config(folder, {}), state_dir=folder / "s", config_dir=folder)

    assert (found.control, found.scheduler, found.events) == (None, None, None)
    assert found.elsewhere == (
        "control's store: postgresql+pg8000://c:***@db/c",
        "the scheduler's store: postgresql+pg8000://c:***@db/c",
        "events in kafka and clickhouse",
    )


async def test_with_a_store_elsewhere_all_files_of_finetunes_are_taken(
    found: Sources, folder: Path
) -> None:
    (found.state_dir / "assets" / OTHER).write_text("x")

    names, _ = await collected(replace(found, control=None), folder)

    assert f"state/assets/{OTHER}" in names


async def test_a_store_at_another_place_is_found(folder: Path) -> None:
    (folder / "constellation.yaml").write_text(
        "control: {store_url: 'sqlite:////srv/c.db', assets: /srv/assets}\n"
    )

    found = sources(load_config(folder, {}), state_dir=folder / "s", config_dir=folder)

    assert (found.control, found.assets) == (Path("/srv/c.db"), Path("/srv/assets"))
    assert found.scheduler == folder / "s/scheduler.db"
    assert replace(found, elsewhere=()) == found
