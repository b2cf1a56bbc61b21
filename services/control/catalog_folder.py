"""The catalog's files while control runs: what changes there is handed out without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from libs.common.catalog_files import load_catalog
from libs.common.world_map import Resource
from libs.common.yaml_files import Problems
from services.control.service import Control

Signature = frozenset[tuple[str, int, int]]
log = logging.getLogger(__name__)


class CatalogFolder:
    """Looks at the files now and then, and reads all of them again once they are others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._signature()

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
                read = await asyncio.to_thread(self._read, control.regions())
            except (Problems, OSError) as error:
                log.error("the catalog stays as it was: %s", error)
            else:
                control.take_catalog(read)

    def _read(self, regions: Collection[str]) -> Sequence[Resource]:
        found = load_catalog(self._folder, root=self._folder.parent, regions=regions)
        return (*found.models, *found.finetunes)

    def _signature(self) -> Signature:
        """Return what changes with every change of a file."""
        found = set()
        for path in (*self._folder.glob("models/*.yaml"), *self._folder.glob("finetunes/*.yaml")):
            try:
                told = path.stat()
            except OSError:  # it is just being replaced
                continue
            found.add((str(path), told.st_mtime_ns, told.st_size))
        return frozenset(found)
