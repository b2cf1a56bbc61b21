"""A file that comes in pieces: written and hashed in threads, and kept whole or not at all.

with Incoming(folder) as incoming:
    async for chunk in chunks:
        await incoming.write(chunk)
    await incoming.keep(folder / incoming.sha256)
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from libs.common.finishing import in_thread

PIECE_BYTES: Final = 1024 * 1024  # written at once: a thread for each chunk would cost more


class Incoming:
    """Gathers the pieces in a nameless file of `folder`; what is not kept is gone on leaving."""

    def __init__(self, folder: Path) -> None:
        """Make the file, for its owner's eyes alone."""
        handle, name = tempfile.mkstemp(dir=folder)
        self.size = 0
        self._path = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "wb", buffering=0)
        self._hash = hashlib.sha256()
        self._waiting = bytearray()

    def __repr__(self) -> str:
        return f"<Incoming {self._path.name} size={self.size}>"

    def __enter__(self) -> Self:
        """Nothing is left to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what was not kept."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """The digest of what has come, once it is flushed."""
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Take a piece; OSError where it cannot be written."""
        self.size += len(chunk)
        self._waiting += chunk
        if len(self._waiting) >= PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what waits."""
        piece, self._waiting = bytes(self._waiting), bytearray()
        await in_thread(lambda: self._write(piece))

    async def keep(self, path: Path) -> None:
        """Give what has come this name, once it is safe from a loss of power."""
        await self.flush()
        await in_thread(lambda: self._keep(path))

    def _write(self, piece: bytes) -> None:
        self._hash.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _keep(self, path: Path) -> None:
        os.fsync(self._file.fileno())
        self._path.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder stand, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
