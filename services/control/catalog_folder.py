"""The catalog's files while control runs: what changes there is handed out without a restart.

Files with a mistake are refused as a whole, and what was good before is served on: also over a
restart, by a copy of the last good files in the state folder.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from libs.common.catalog_files import load_catalog
from libs.common.config import read_config
from libs.common.staged_files import Staged
from libs.common.world_map import Colo, Resource
from libs.common.yaml_files import Problems
from services.control.service import Control

Signature = frozenset[tuple[str, int, int]]
KEPT = "catalog"  # the folder of the last good files, in the state folder
PATTERNS = ("models/*.yaml", "finetunes/*.yaml", "staged/*/*.yaml")
log = logging.getLogger(__name__)


class CatalogFolder:
    """Looks at the files now and then, and reads all of them again once they are others."""

    def __init__(self, folder: Path, *, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self._seen = self._signature() if _is_kept(folder, kept) else frozenset()

    def __repr__(self) -> str:
        return f"<CatalogFolder {self._folder} files={len(self._seen)}>"

    async def follow(self, control: Control, *, every_s: float) -> None:
        """Hand every change to control until cancelled; mistakes leave things as they were."""
        while True:
            await asyncio.sleep(every_s)
            seen = await asyncio.to_thread(self._signature)
            if seen == self._seen:
                continue
            self._seen = seen
            try:
                read = await asyncio.to_thread(self._read)
            except Problems as error:
                control.refuse_catalog([str(each) for each in error.problems])
                log.error("the catalog stays as it was: %s", error)
            except Exception as error:  # no edit may end the service
                control.refuse_catalog([f"{self._folder.name}: cannot be taken up: {error!r}"])
                log.exception("the catalog stays as it was: this is a bug")
            else:
                control.take_catalog(read)
                log.info("the catalog is that of its files, which have changed")

    def _read(self) -> Sequence[Resource | Staged]:
        found = load_catalog(self._folder, root=self._folder.parent, colos=self._colos())
        keep(self._folder, self._kept)
        return (*found.models, *found.finetunes, *found.staged)

    def _colos(self) -> Collection[Colo] | None:
        """Return all colos of the settings, of which only some may run; None: not known."""
        try:
            config, problems = read_config(self._folder, {})
        except Problems:
            return None
        return None if problems else config.colos

    def _signature(self) -> Signature:
        """Return what changes with every change of a file."""
        found = set()
        for path in _files(self._folder):
            try:
                told = path.stat()
            except OSError:  # it is just being replaced
                continue
            found.add((str(path), told.st_mtime_ns, told.st_size))
        return frozenset(found)


def keep(folder: Path, kept: Path) -> None:
    """Keep a copy of files that are good; one that cannot be kept is told, and nothing more."""
    new = kept.with_name(f"{kept.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for path in _files(folder):
            to = new / path.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        shutil.rmtree(kept, ignore_errors=True)
        new.rename(kept)
    except OSError as error:
        log.warning("the last good catalog is not kept in %s: %s", kept, error)


def _is_kept(folder: Path, kept: Path) -> bool:
    """Whether the files are those that were good last, as far as that is known."""
    return not kept.is_dir() or _contents(folder) == _contents(kept)


def _contents(folder: Path) -> dict[Path, bytes | None]:
    """Return what is in each file, None for one that cannot be read."""
    return {path.relative_to(folder): _content(path) for path in _files(folder)}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _files(folder: Path) -> Iterator[Path]:
    for pattern in PATTERNS:
        yield from folder.glob(pattern)
