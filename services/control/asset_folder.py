"""The folder in which control keeps uploaded files, each named by its SHA-256.

A file is there whole or not at all: what comes in lies in `incoming/` until then, which is
emptied at the start.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from libs.common.errors import NoRoom, Unavailable, UnknownFinetune
from libs.common.finishing import in_thread
from libs.common.incoming import Incoming, sync_folder

INCOMING: Final = "incoming"
READ_BYTES: Final = 1024 * 1024
log = logging.getLogger(__name__)


class AssetFolder:
    """Implements `ports.Assets` on a disk."""

    def __init__(self, folder: Path, *, keep_free_bytes: int) -> None:
        self._folder = folder
        self._keep_free_bytes = keep_free_bytes

    def __repr__(self) -> str:
        return f"<AssetFolder {self._folder}>"

    async def open(self, wanted: Collection[str]) -> None:
        """Make it ready: without what was left half there, and what is not wanted any more."""
        try:
            await in_thread(lambda: self._open(wanted))
        except OSError as error:
            text = f"control's folder of uploaded files {self._folder} is not available"
            raise Unavailable(f"{text}: {error.strerror}") from error

    async def retain(self, wanted: Collection[str]) -> None:
        """Remove all files but these."""
        await in_thread(lambda: self._retain(wanted))

    @contextmanager
    def receive(self, size: int) -> Iterator[Received]:
        """Take a file of so many bytes while inside. NoRoom where the disk has none for it."""
        with _no_room():
            free = shutil.disk_usage(self._folder).free
        if free < size + self._keep_free_bytes:
            raise NoRoom("there is no room for the file on control's disk")
        with _no_room():
            incoming = Incoming(self._folder / INCOMING)
        with incoming:
            yield Received(incoming, self._folder)

    async def beginning(self, sha256: str, most: int) -> bytes:
        """Return the first bytes of a file that is kept. UnknownFinetune."""
        return await in_thread(lambda: self._beginning(sha256, most))

    async def read(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield a file in pieces. UnknownFinetune."""
        try:
            file = await in_thread(lambda: self._path(sha256).open("rb", buffering=0))
        except FileNotFoundError:
            raise UnknownFinetune(f"no file has the digest {sha256[:64]}") from None
        with file:
            while piece := await in_thread(lambda: file.read(READ_BYTES)):
                yield piece

    def _path(self, sha256: str) -> Path:
        if len(sha256) != 64 or not sha256.isalnum():  # it becomes a part of a path
            raise UnknownFinetune(f"no file has the digest {sha256[:64]}")
        return self._folder / sha256

    def _beginning(self, sha256: str, most: int) -> bytes:
        try:
            with self._path(sha256).open("rb") as file:
                return file.read(most)
        except FileNotFoundError:
            raise UnknownFinetune(f"no file has the digest {sha256[:64]}") from None

    def _open(self, wanted: Collection[str]) -> None:
        incoming = self._folder / INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True, exist_ok=True)
        self._retain(wanted)
        for sha256 in wanted:
            if not (self._folder / sha256).is_file():
                log.error("a finetune's file is missing: %s", self._folder / sha256)

    def _retain(self, wanted: Collection[str]) -> None:
        for path in self._folder.iterdir():
            if path.name != INCOMING and path.name not in wanted:
                path.unlink(missing_ok=True)
        sync_folder(self._folder)


class Received:
    """A file that comes in; implements `ports.Received`."""

    def __init__(self, incoming: Incoming, folder: Path) -> None:
        self._incoming = incoming
        self._folder = folder

    def __repr__(self) -> str:
        return f"<Received {self._incoming!r}>"

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._incoming.size

    async def write(self, chunk: bytes) -> None:
        """Take a piece. NoRoom."""
        with _no_room():
            await self._incoming.write(chunk)

    async def keep(self) -> str:
        """Keep what has come, safe from a loss of power, and return its digest. NoRoom."""
        with _no_room():
            await self._incoming.flush()
            sha256 = self._incoming.sha256
            await self._incoming.keep(self._folder / sha256)
        return sha256


@contextmanager
def _no_room() -> Iterator[None]:
    """Say what a disk that cannot be written to means."""
    try:
        yield
    except OSError as error:
        log.error("an uploaded file cannot be stored: %s", error)
        raise NoRoom(f"control cannot store the file: {error.strerror}") from error
