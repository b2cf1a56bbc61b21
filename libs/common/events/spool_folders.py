"""Folders of the spool: one for each boot of a server, each locked by whoever has it.

    spool/<server>/<boot epoch>/<first sequence>.events

The lock is the kernel's, on the folder itself: it ends with the process, however that ends.
So what nobody holds was left behind by a boot that is over, and whoever locks it may take it.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from libs.common.events.spool_records import count_events
from libs.common.events.values import Boot

SUFFIX = ".events"


@dataclass(slots=True, kw_only=True)
class Segment:
    """A file of records."""

    path: Path
    size: int  # of what is whole, as far as one knows
    events: int  # that nobody has read yet
    read: int = 0  # bytes
    last_sequence: int = 0  # that was written or read; 0: none yet
    synced: int = 0  # bytes
    is_open: bool = False  # it grows

    @property
    def is_unread(self) -> bool:
        """Whether there is something to read."""
        return self.read < self.size


class Folder:
    """The segments of one boot, oldest first, while this process holds its lock."""

    def __init__(self, path: Path, boot: Boot, lock: int) -> None:
        self.path = path
        self.boot = boot
        self.segments: deque[Segment] = deque()
        self.released = 0  # the last sequence that nobody needs any more
        self._lock = lock

    def __repr__(self) -> str:
        return f"<Folder {'/'.join(map(str, self.boot))} segments={len(self.segments)}>"

    @property
    def unread(self) -> Segment | None:
        """Return the first segment that has something to read."""
        return next((segment for segment in self.segments if segment.is_unread), None)

    def over(self) -> list[Segment]:
        """Let go of the segments that nobody needs any more, and return them."""
        segments = []
        while self.segments and self._is_over(self.segments[0]):
            segments.append(self.segments.popleft())
        return segments

    def close(self) -> None:
        """Give the folder back: removed, if nothing is in it."""
        with suppress(OSError):  # something is in it, or it is gone
            self.path.rmdir()
            self.path.parent.rmdir()
        os.close(self._lock)

    def _is_over(self, segment: Segment) -> bool:
        if segment.is_open or segment.is_unread:
            return False
        return segment.last_sequence <= self.released


def create(root: Path, server: str, boot_epoch: int, *, epochs: int) -> Folder:
    """Make and lock a new boot's folder, of this epoch or the next ones. Raises OSError.

    An epoch that has a folder already is another boot's, of a clock that was set back.
    """
    for epoch in range(boot_epoch, boot_epoch + epochs):
        path = root / _name(server) / str(epoch)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError, FileNotFoundError):  # another's; its parent is gone again
            path.mkdir(mode=0o700)
            lock = _lock(path)
            if lock is not None:
                return Folder(path, (server, epoch), lock)
    raise OSError(f"no free folder for {server!r} from {boot_epoch} on in {root}")


def claim(root: Path, server: str | None = None) -> Iterator[Folder]:
    """Lock and yield what boots have left behind: of one server, or of all, oldest first."""
    servers = [_name(server)] if server is not None else sorted(_names(root))
    for name in servers:
        for epoch in sorted(int(each) for each in _names(root / name) if each.isdecimal()):
            path = root / name / str(epoch)
            lock = _lock(path)
            if lock is None:
                continue
            folder = Folder(path, (unquote(name), epoch), lock)
            try:
                folder.segments.extend(_segments(path))
            except OSError:
                os.close(lock)
                continue
            yield folder


def _segments(path: Path) -> Iterator[Segment]:
    for file in sorted(path.glob(f"*{SUFFIX}")):
        size = file.stat().st_size
        yield Segment(path=file, size=size, events=count_events(file, size), synced=size)


def _name(server: str) -> str:
    """Return a file name: it neither leads elsewhere nor is hidden."""
    name = quote(server, safe="")
    return name.replace(".", "%2E", 1) if name.startswith(".") else name


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:  # none yet, or not ours
        return []


def _lock(path: Path) -> int | None:
    """Return a lock on a folder; None where another has it, or it is gone or not ours."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(folder), os.stat(path)):  # else removed before it was locked
            return folder
    except OSError:
        pass
    os.close(folder)
    return None
