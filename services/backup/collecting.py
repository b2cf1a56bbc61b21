"""Gathers what a backup has in a folder, from a deployment that runs or stands still.

The order makes it whole. The spool comes before the events: what is in both is stored once by
whoever restores it. Files of finetunes come before control's store and again after it, so that
none is missing that the store names.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Final

from libs.common.catalog import Finetune
from libs.common.clients.away import is_away
from libs.common.clients.usage import UsageClient
from libs.common.errors import RequestError, Unavailable
from libs.common.messages import resource_from_json
from services.analytics.ports import StoreError
from services.analytics.stores.duckdb_copy import copy_closed
from services.backup.manifest import CONFIG, STATE, CannotBackUp
from services.backup.sources import Sources

SMALL: Final = ("token", "keys", "spool")  # of the state folder, copied as they are
BUSY_S: Final = 30.0  # for a database that somebody else writes to
TRIES: Final = 5  # of control's store, while finetunes come and go


class Collecting:
    """Copies the parts of a deployment below `folder`, and tells what it could not find."""

    def __init__(self, found: Sources, folder: Path, *, copy_s: float) -> None:
        self._found = found
        self._config = folder / CONFIG
        self._state = folder / STATE
        self._copy_s = copy_s
        self.missing: list[str] = []

    def __repr__(self) -> str:
        return f"<Collecting from={self._found.state_dir} missing={len(self.missing)}>"

    async def run(self) -> None:
        """Copy everything. CannotBackUp, OSError."""
        self._files()
        if self._found.events is not None:
            await self._events(self._found.events)
        self._stores()

    def _files(self) -> None:
        self._state.mkdir(parents=True)
        _copy_tree(self._found.config_dir, self._config)
        for name in SMALL:
            _copy_tree(self._found.state_dir / name, self._state / name)

    async def _events(self, path: Path) -> None:
        """Ask analytics for its store where it runs, since nobody else can open it."""
        to = self._state / "events.duckdb"
        try:
            if not await _asked(self._found.state_dir / "usage.sock", to, self._copy_s):
                _copy_events(path, to, self._copy_s)
        except (RequestError, StoreError) as error:
            raise CannotBackUp(f"the events cannot be copied: {error}") from error

    def _stores(self) -> None:
        control, scheduler = self._found.control, self._found.scheduler
        if control is None:  # what its store names is not known here: all of them
            _link_files(self._found.assets, self._state / "assets")
        elif control.exists():
            self._control(control)
        if scheduler is not None and scheduler.exists():
            _copy_sqlite(scheduler, self._state / "scheduler.db")

    def _control(self, path: Path) -> None:
        to, folder = self._state / "control.db", self._state / "assets"
        lacking: set[str] = set()
        for _ in range(TRIES):
            _link_files(self._found.assets, folder)
            _copy_sqlite(path, to)
            _link_files(self._found.assets, folder)
            wanted = _assets_in(to)
            lacking = {name for name in wanted if not (folder / name).is_file()}
            if not lacking:
                break
        for name in sorted(lacking):
            self.missing.append(f"a finetune's file was not there: {self._found.assets / name}")
        for each in folder.iterdir() if folder.is_dir() else ():
            if each.name not in wanted:
                each.unlink()


def _assets_in(path: Path) -> set[str]:
    """Return the digests of all files that control's store names."""
    query = "SELECT body FROM resources WHERE kind = 'finetune'"
    with closing(sqlite3.connect(path)) as store:
        found = [resource_from_json("finetune", body) for (body,) in store.execute(query)]
    return {asset.sha256 for each in found if isinstance(each, Finetune) for asset in each.assets}


def _copy_sqlite(path: Path, to: Path) -> None:
    """Copy a database as it is at one moment, whoever writes to it."""
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=BUSY_S)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise CannotBackUp(f"{path} cannot be copied: {error}") from error


def _copy_tree(path: Path, to: Path) -> None:
    """Copy files as they are now; one that has left meanwhile is not a part any more."""
    if path.is_file():
        to.parent.mkdir(parents=True, exist_ok=True)
        _unless_gone(lambda: shutil.copyfile(path, to))
    elif path.is_dir():
        for each in path.rglob("*"):
            if each.is_file():
                _copy_tree(each, to / each.relative_to(path))


def _link_files(folder: Path, to: Path) -> None:
    """Hold on to files that never change, by links where the disk is the same."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and not (to / path.name).exists():
            to.mkdir(exist_ok=True)
            _unless_gone(lambda path=path: _link(path, to / path.name))  # type: ignore[misc]


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(path, to)


def _unless_gone(work: Callable[[], object]) -> None:
    try:
        work()
    except FileNotFoundError:
        return


async def _asked(socket: Path, to: Path, seconds: float) -> bool:
    """Have analytics send its store. False: it does not run here. RequestError."""
    with to.open("wb") as file:
        try:
            async with (
                UsageClient(f"unix:{socket}", timeout_s=seconds) as client,
                aclosing(client.copy()) as pieces,
            ):
                async for piece in pieces:
                    file.write(piece)
        except Unavailable as error:
            if is_away(error) and not file.tell():
                return False
            raise
    return True


def _copy_events(path: Path, to: Path, seconds: float) -> None:
    to.unlink()
    if path.exists():
        copy_closed(path, to, seconds)
