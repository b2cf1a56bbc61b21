"""The store's file for a backup: copied here, handed out in pieces."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Final

from libs.common.errors import UsageUnavailable
from libs.common.finishing import in_thread
from services.analytics.ports import FileStore
from services.analytics.usage import Usage

PIECE_BYTES: Final = 1 << 20


class Copying:
    """Hands out the file of `store` as it is now, to one at a time."""

    def __init__(self, *, usage: Usage, store: object, file: Path, copy_seconds: float) -> None:
        self._usage = usage
        self._store = store
        self._file = file
        self._copy = file.with_name(f"{file.name}.copy")
        self._seconds = copy_seconds
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Copying {self._file.name} busy={self._turn.locked()}>"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield all of it. UsageUnavailable: there is no file, no room, or another one asks."""
        store = self._store
        if not isinstance(store, FileStore):
            raise UsageUnavailable("the events are in no file of this machine")
        if self._turn.locked():
            raise UsageUnavailable("another copy is being made")
        async with self._turn:
            try:
                self._check_room()
                async with self._usage.reading():
                    await store.copy(self._copy, seconds=self._seconds)
                with self._copy.open("rb") as file:
                    while piece := await in_thread(lambda: file.read(PIECE_BYTES)):
                        yield piece
            finally:
                with suppress(OSError):
                    self._copy.unlink()

    def _check_room(self) -> None:
        needs, free = self._file.stat().st_size, shutil.disk_usage(self._file.parent).free
        if free < needs:
            short = f"{needs} bytes are needed for it, {free} are free"
            raise UsageUnavailable(f"there is no room for a copy in {self._file.parent}: {short}")
