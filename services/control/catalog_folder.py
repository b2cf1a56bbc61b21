"""The catalog's files while control runs: what changes there is handed out without a restart.

Files with a mistake are refused as a whole, and what was good before is served on: also over a
restart, by a copy of the last good files in the state folder.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Collection, Sequence
from os.path import isdir  # unlike Path's, it says no where it may not look
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from libs.common.catalog_files import load_catalog
from libs.common.catalog_places import LASTING, find_places
from libs.common.config import read_config
from libs.common.staged_files import Staged
from libs.common.world_map import Colo, Resource
from libs.common.yaml_files import Problems

Signature: TypeAlias = frozenset[tuple[str, int, int]]
Read: TypeAlias = Sequence[Resource | Staged]
KEPT: Final = "catalog"  # the folder of the last good files, in the state folder
AGAIN_S: Final = 5.0  # until what was refused is read again: its cause may be in other files
AT_REST_S: Final = 0.5  # between two looks, where somebody waits for them
CATCH_UP_S: Final = 5.0  # that a start waits for files at most
log = logging.getLogger(__name__)


class Taker(Protocol):
    """Control, as what the files say is handed to it."""

    def take_catalog(self, found: Read) -> None:
        """Serve this from now on."""
        ...

    def refuse_catalog(self, mistakes: Sequence[str]) -> None:
        """Serve what was good before."""
        ...


class CatalogFolder:
    """Looks at the files now and then, and reads all of them again once they are others.

    They are read when two looks in a row have found the same: a file that somebody is still
    writing often is a whole model by itself, but another.
    """

    def __init__(self, folder: Path, *, kept: Path, again_s: float = AGAIN_S) -> None:
        self._folder = folder
        self._kept = kept
        self._again_s = again_s
        self._expected = expected(kept) | _there(folder)
        self._last = self._signature()
        self._taken = self._last if _is_kept(folder, kept) else None
        self._said: tuple[str, ...] = ()  # of the last that was read: why it was refused
        self._again_at = 0.0
        self._looking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<CatalogFolder {self._folder} files={len(self._last)}>"

    async def follow(self, control: Taker, *, every_s: float) -> None:
        """Hand every change to control until cancelled; mistakes leave things as they were."""
        while True:
            await asyncio.sleep(every_s)
            await self.look(control)

    async def catch_up(self, control: Taker, *, every_s: float) -> None:
        """Hand over what changed before control is to tell anybody; after a while, without it."""
        try:
            async with asyncio.timeout(CATCH_UP_S):
                while not await self.look(control):  # noqa: ASYNC110 - files tell nobody
                    await asyncio.sleep(min(every_s, AT_REST_S))
        except TimeoutError:
            log.warning("the catalog is the last that was good: its files do not come to rest")

    async def look(self, control: Taker) -> bool:
        """Hand over what has changed, if it is at rest; return whether it is."""
        async with self._looking:
            return await self._look(control)

    async def _look(self, control: Taker) -> bool:
        seen = await asyncio.to_thread(self._signature)
        is_at_rest, self._last = seen == self._last, seen
        if not is_at_rest or not self._is_due(seen):
            return is_at_rest
        read = await asyncio.to_thread(self._read)
        if await asyncio.to_thread(self._signature) != seen:
            return False  # it changed meanwhile: what was read may be some of each
        self._taken = seen
        try:
            await self._hand_over(control, read)
        except Exception as error:  # no edit may end the service
            control.refuse_catalog([f"{self._folder.name}: cannot be taken up: {error!r}"])
            log.exception("the catalog stays as it was: this is a bug")
        return True

    def _is_due(self, seen: Signature) -> bool:
        if seen != self._taken:
            return True
        return bool(self._said) and asyncio.get_running_loop().time() >= self._again_at

    def _read(self) -> Read | Problems:
        try:
            found = load_catalog(
                self._folder,
                root=self._folder.parent,
                colos=self._colos(),
                expected=self._expected | expected(self._kept),
            )
        except Problems as error:
            return error
        return (*found.models, *found.finetunes, *found.staged)

    async def _hand_over(self, control: Taker, read: Read | Problems) -> None:
        if not isinstance(read, Problems):
            await asyncio.to_thread(keep, self._folder, self._kept)
            control.take_catalog(read)
            self._said = ()
            log.info("the catalog is that of its files, which have changed")
            return
        self._again_at = asyncio.get_running_loop().time() + self._again_s
        mistakes = tuple(map(str, read.problems))
        if mistakes != self._said:
            log.error("the catalog stays as it was: %s", read)
        self._said = mistakes
        control.refuse_catalog(mistakes)

    def _colos(self) -> Collection[Colo] | None:
        """Return all colos of the settings, of which only some may run; None: not known."""
        try:
            config, problems = read_config(self._folder, {})
        except Problems:
            return None
        return None if problems else config.colos

    def _signature(self) -> Signature:
        """Return what changes with every change of a file, or of where files are."""
        places = find_places(self._folder, expected=self._expected)
        found = {(str(problem), 0, 0) for problem in places.problems}
        for path in places.files:
            try:
                told = path.stat()
            except OSError:  # it is just being replaced
                continue
            found.add((str(path), told.st_mtime_ns, told.st_size))
        return frozenset(found)


def expected(kept: Path) -> set[str]:
    """Return the folders that the last good catalog had: one that is gone is no empty one."""
    return _there(kept)


def keep(folder: Path, kept: Path) -> None:
    """Keep a copy of files that are good; one that cannot be kept is told, and nothing more."""
    new = kept.with_name(f"{kept.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name in _there(folder):
            (new / name).mkdir()
        for path in find_places(folder).files:
            to = new / path.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        shutil.rmtree(kept, ignore_errors=True)
        new.rename(kept)
    except OSError as error:
        log.warning("the last good catalog is not kept in %s: %s", kept, error)


def _there(folder: Path) -> set[str]:
    return {name for name in LASTING if isdir(folder / name)}


def _is_kept(folder: Path, kept: Path) -> bool:
    """Whether the files are those that were good last, as far as that is known."""
    return not kept.is_dir() or _contents(folder) == _contents(kept)


def _contents(folder: Path) -> dict[Path, bytes | None]:
    """Return what is in each file, None for one that cannot be read."""
    return {path.relative_to(folder): _content(path) for path in find_places(folder).files}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
