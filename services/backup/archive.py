"""A backup as a file: a tar.gz with its manifest first; whole and checked, or not there."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from libs.common.incoming import sync_folder
from services.backup import manifest as manifests
from services.backup.manifest import CannotBackUp, Manifest, Part

STREAM: Final = Path("-")  # standard input, as a file
PIECE_BYTES: Final = 1 << 20
QUICK: Final = 1  # of gzip: it costs a third of the usual, for a tenth more of size
BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, OSError)


def write(folder: Path, to: Path, *, left_out: tuple[str, ...]) -> Manifest:
    """Write all files below a folder into a new file, for its owner's eyes alone."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(
        format=manifests.FORMAT,
        version=manifests.ours(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parts=tuple(_part(folder, path) for path in paths),
        left_out=left_out,
    )
    partial = to.with_name(f"{to.name}.partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=QUICK) as tar:
                _add(tar, manifests.NAME, io.BytesIO(manifests.written(manifest)))
                for part in manifest.parts:
                    with (folder / part.name).open("rb") as source:
                        _add(tar, part.name, source)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, to)  # unlike a rename, it never replaces what is there
        sync_folder(to.parent)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def _part(folder: Path, path: Path) -> Part:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
        size = file.tell()
    name = path.relative_to(folder).as_posix()
    return Part(name=name, size=size, sha256=digest.hexdigest())


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes]) -> None:
    told = tarfile.TarInfo(name)
    told.size = source.seek(0, os.SEEK_END)
    told.mode = 0o600
    source.seek(0)
    tar.addfile(told, source)


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Open a backup, and read its manifest. CannotBackUp."""
    try:
        file = sys.stdin.buffer if path == STREAM else path.open("rb")
        shown = "standard input" if path == STREAM else str(path)
    except OSError as error:
        raise CannotBackUp(f"{path} cannot be read: {error.strerror}") from error
    try:
        with file, tarfile.open(fileobj=file, mode="r|gz") as tar:
            yield Reader(tar)
    except CannotBackUp as error:
        raise CannotBackUp(f"{shown}: {error}") from error
    except BROKEN as error:
        raise CannotBackUp(f"{shown} is no whole backup: {error}") from error


class Reader:
    """Reads a backup from its beginning to its end."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        first = tar.next()
        if first is None or first.name != manifests.NAME or first.size > manifests.MOST_BYTES:
            raise CannotBackUp(f"it does not begin with {manifests.NAME}: it is no backup")
        self.manifest = manifests.read(self._file(first).read())

    def __repr__(self) -> str:
        return f"<Reader parts={len(self.manifest.parts)}>"

    def extract(self, folder: Path) -> None:
        """Write all parts below a folder. CannotBackUp: one is missing, other, or too many."""
        wanted = {part.name: part for part in self.manifest.parts}
        while member := self._tar.next():
            part = wanted.pop(member.name, None)
            if part is None or not member.isreg():
                raise CannotBackUp(
                    f"it has {member.name!r}, of which {manifests.NAME} says nothing"
                )
            self._write(member, part, folder / part.name)
        if wanted:
            raise CannotBackUp(f"{len(wanted)} of its files are missing, such as {min(wanted)}")

    def _write(self, member: tarfile.TarInfo, part: Part, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, source = hashlib.sha256(), self._file(member)
        with path.open("xb") as file:
            path.chmod(0o600)
            while piece := source.read(PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if (member.size, digest.hexdigest()) != (part.size, part.sha256):
            raise CannotBackUp(f"{part.name} is not what was saved: its checksum differs")

    def _file(self, member: tarfile.TarInfo) -> IO[bytes]:
        file = self._tar.extractfile(member)
        if file is None:
            raise CannotBackUp(f"{member.name} is no file")
        return file
