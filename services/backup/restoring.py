"""Puts a backup into an empty state folder: all of it, checked, or nothing."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from libs.common.incoming import sync_folder
from services.analytics.ports import StoreError
from services.analytics.stores.duckdb_copy import check
from services.backup.archive import opened
from services.backup.manifest import CONFIG, STATE, CannotBackUp, Manifest
from services.backup.placing import bring, places, refuse_what_is_there

RESTORING: Final = ".restoring"  # in the state folder, until all is whole
ASIDE: Final = "config-of-backup"


def restore(
    path: Path, *, state_dir: Path, config_dir: Path, env: Mapping[str, str]
) -> tuple[Manifest, Path]:
    """Restore a backup; return what it has, and where its configuration is.

    CannotBackUp; Problems: the settings do not say where it goes.
    """
    _refuse_where_in_use(state_dir)
    with opened(path) as backup:
        with _work_folder(state_dir) as folder:
            _refuse_without_room(backup.manifest.size, folder)
            backup.extract(folder)
            _check_stores(folder / STATE)
            to = places(config_dir, folder / CONFIG, env, state_dir=state_dir)
            refuse_what_is_there(backup.manifest, to)
            config = _place_config(folder / CONFIG, config_dir, state_dir)
            bring(folder / STATE, to)
            _move(folder / STATE, state_dir)
        return backup.manifest, config


def _refuse_where_in_use(state_dir: Path) -> None:
    locks = {lock.stem: _holder(lock) for lock in sorted(state_dir.glob("*.lock"))}
    if held := [f"{name} (pid {pid})" for name, pid in locks.items() if pid]:
        raise CannotBackUp(
            f"{state_dir} is in use by {', '.join(held)}: stop that, or give another --state-dir"
        )
    found = sorted(each.name for each in state_dir.iterdir()) if state_dir.is_dir() else []
    if found:
        raise CannotBackUp(
            f"{state_dir} is not empty, there is {', '.join(found[:3])}: "
            "move it away, or give another --state-dir"
        )


def _holder(lock: Path) -> str:
    """Return the pid of the process that holds a lock, empty where none does."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read(20).decode(errors="replace") or "unknown"
    return ""


@contextmanager
def _work_folder(state_dir: Path) -> Iterator[Path]:
    """Make a folder on the disk of the state folder; nothing of it is left."""
    is_new = not state_dir.exists()
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = state_dir / RESTORING
    folder.mkdir(mode=0o700)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(state_dir if is_new else folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _refuse_without_room(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CannotBackUp(f"there is no room in {folder.parent}: {size} bytes needed, {free} free")


def _check_stores(state: Path) -> None:
    """Look whether the stores can be opened, and nobody holds control's lease in them."""
    for path in sorted(state.glob("*.db")):
        try:
            with closing(sqlite3.connect(path)) as store:
                ((found,),) = store.execute("PRAGMA quick_check(1)").fetchall()
                if path.name == "control.db":  # who held it is not here to give it back
                    store.execute("UPDATE leases SET holder = ''")
                    # nodes that there are say so themselves
                    store.execute("DELETE FROM resources WHERE kind IN ('node', 'instance')")
                    store.commit()
        except sqlite3.Error as error:
            raise CannotBackUp(f"{path.name} cannot be opened: {error}") from error
        if found != "ok":
            raise CannotBackUp(f"{path.name} is broken: {found}")
    if (events := state / "events.duckdb").exists():
        try:
            check(events)
        except StoreError as error:
            raise CannotBackUp(str(error)) from error


def _place_config(found: Path, config_dir: Path, state_dir: Path) -> Path:
    """Put the configuration where there is none; one that is there stays, and has it beside it."""
    if not found.is_dir() or _contents(found) == _contents(config_dir):
        return config_dir
    for each in [found, *found.rglob("*")]:
        each.chmod(0o755 if each.is_dir() else 0o644)
    is_free = not config_dir.exists() or not any(config_dir.iterdir())
    to = config_dir if is_free else state_dir / ASIDE
    shutil.copytree(found, to, dirs_exist_ok=True)
    return to


def _contents(folder: Path) -> dict[Path, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def _move(state: Path, state_dir: Path) -> None:
    """Give everything its name; control's store is the last, as without it nothing is restored."""
    for folder in (path for path in state.rglob("*") if path.is_dir()):
        folder.chmod(0o700)
    for each in sorted(state.iterdir(), key=lambda path: (path.name == "control.db", path.name)):
        each.rename(state_dir / each.name)
    sync_folder(state_dir)
    sync_folder(state_dir.parent)
