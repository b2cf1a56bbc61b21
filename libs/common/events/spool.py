"""The spool: what a sink has sealed and the collector does not have yet, on disk and bounded.

A record is in the page cache when `append` returns, so a kill -9 does not lose it; `sync` is
for a machine that loses its power. Nothing here waits for another thread: what may take its
time (reads, syncs, removals) is given out as plain functions, for whoever has a thread.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from libs.common.events import spool_folders
from libs.common.events.spool_folders import SUFFIX, Folder, Segment
from libs.common.events.spool_records import Chunk, head_of, read_chunk
from libs.common.events.values import Boot

log = logging.getLogger(__name__)

Later: TypeAlias = Callable[[Callable[[], None]], object]  # has a function called, soon
RETRY_SECONDS = 1.0  # after an error of the disk
SEGMENTS = 4  # at least, of a full spool: it is emptied by whole ones
FOLDERS = 3  # of a segment: its boot's, its server's, and that of all spools
EPOCHS = 100  # that are tried, where one is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """Bounds of a spool."""

    # Of all segments of this server; nothing more is taken from there on. The last batch may
    # go beyond it.
    most_bytes: int = 1 << 30
    # A segment is removed when all of it is acknowledged.
    segment_bytes: int = 4 << 20


@dataclass(slots=True)
class SpoolCounts:
    """What has happened since boot; plain integers, read by the metrics."""

    appended: int = 0  # events
    # Events read again, to be sent.
    replayed: int = 0
    # Records that were broken, and segments that end within one.
    corrupt: int = 0
    torn: int = 0
    # Times that the disk refused something.
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """Where to read next; `read` may be called in any thread."""

    folder: Folder
    segment: Segment
    read: Callable[[], Chunk]


class Spool:
    """The segments of this boot, and those that earlier ones have left behind."""

    def __init__(
        self,
        root: Path,
        *,
        server: str,
        config: SpoolConfig | None = None,
        later: Later = lambda work: work(),
    ) -> None:
        self._root = root
        self._server = server
        self._config = config or SpoolConfig()
        self._later = later
        self._own: Folder | None = None
        self._left_behind: list[Folder] = []
        self._file = -1  # the last segment of our own
        self._retry_at = 0.0
        self._is_failing = False
        self.bytes = 0  # of all segments
        self._others_bytes = 0  # of these, of what other servers have left behind
        self.unread_events = 0  # that have to be read before they can be sent
        self._marked = 0  # the last sequence at the last sync
        self.counts = SpoolCounts()

    def __repr__(self) -> str:
        return f"<Spool {self._server} bytes={self.bytes} unread={self.unread_events}>"

    @property
    def is_open(self) -> bool:
        """Whether there is a folder to write to."""
        return self._own is not None

    @property
    def has_unread(self) -> bool:
        """Whether what is appended now has to wait for others to be read."""
        return any(folder.unread is not None for folder in self._folders())

    @property
    def has_room(self) -> bool:
        """Whether an append may succeed."""
        if self._own is None or self._is_full:
            return False
        return time.monotonic() >= self._retry_at

    def prepare(self, boot_epoch: int, *, epochs: int = EPOCHS) -> list[Folder]:
        """Make this boot's folder, and lock those that earlier boots have left, for `begin`.

        May be called in any thread. Raises OSError.
        """
        own = spool_folders.create(self._root, self._server, boot_epoch, epochs=epochs)
        return [own, *spool_folders.claim(self._root, self._server)]

    def abandoned(self) -> list[Folder]:
        """Lock what boots of any server have left behind, for `adopt`; in any thread."""
        return list(spool_folders.claim(self._root))

    def begin(self, folders: Sequence[Folder]) -> int:
        """Write to the first folder, and have the others read; return the epoch of this boot."""
        self._own, *left_behind = folders
        self.adopt(left_behind)
        return self._own.boot[1]

    def adopt(self, folders: Iterable[Folder]) -> None:
        """Have these read before what is appended from now on."""
        for folder in folders:
            self._left_behind.append(folder)
            self._grow(folder, sum(segment.size for segment in folder.segments))
            self.unread_events += sum(segment.events for segment in folder.segments)
            log.info("%s was left behind, and will be sent", folder)
            self._clear(folder)

    def append(
        self, body: bytes | memoryview, *, first_sequence: int, events: int, is_read: bool
    ) -> bool:
        """Keep a batch of this boot; False where the disk refuses.

        One that is sent at once is read already: nothing before it may be unread.
        """
        head = head_of(body, first_sequence=first_sequence, events=events)
        size = len(head) + len(body)
        try:
            segment = self._segment(first_sequence)
            if os.writev(self._file, (head, body)) != size:
                raise OSError("a write that is not whole")
        except OSError as error:
            self.failed(error)
            self._end_segment()
            return False
        self._is_failing = False
        self.bytes += size
        segment.size += size
        segment.last_sequence = first_sequence + events - 1
        if is_read:
            segment.read = segment.size
        else:
            segment.events += events
            self.unread_events += events
        self.counts.appended += events
        return True

    def look(self, *, most_events: int, most_bytes: int) -> Look | None:
        """Return where to read next, if anything is unread."""
        for folder in self._folders():
            if (segment := folder.unread) is not None:
                read = partial(
                    read_chunk,
                    segment.path,
                    segment.read,
                    segment.size,
                    most_events=most_events,
                    most_bytes=most_bytes,
                )
                return Look(folder, segment, read)
        return None

    def found(self, look: Look, chunk: Chunk) -> None:
        """Go on behind what a look has found."""
        segment = look.segment
        segment.read = chunk.end
        left = max(segment.events - chunk.events, 0) if segment.is_unread else 0
        self.unread_events += left - segment.events
        segment.events = left
        segment.last_sequence = max(segment.last_sequence, chunk.last_sequence)
        counts = self.counts
        counts.replayed += chunk.events
        counts.corrupt += chunk.corrupt
        counts.torn += chunk.is_torn
        if chunk.corrupt or chunk.is_torn:
            what = "a torn tail" if chunk.is_torn else "broken records"
            log.warning("%s has %s: skipped", segment.path, what)
        self._clear(look.folder)

    def release(self, boot: Boot, last_sequence: int) -> None:
        """Let go of what is acknowledged."""
        for folder in self._folders():
            if folder.boot == boot:
                folder.released = max(folder.released, last_sequence)
                self._clear(folder)
                if folder is self._own and self._is_full:
                    self._begin_anew(folder)
                return

    def unsynced(self) -> Sequence[Path]:
        """Return what `sync` should bring to the disk: what nobody has acknowledged for a while.

        To be called at an interval: what was appended before the last call is old enough.
        """
        own = self._own
        if own is None or not own.segments:
            return ()
        marked, self._marked = self._marked, own.segments[-1].last_sequence
        if marked <= own.released:
            self._begin_anew(own)
            return ()
        due = [segment for segment in own.segments if segment.synced < segment.size]
        for segment in due:
            segment.synced = segment.size
        return [segment.path for segment in due]

    def failed(self, error: OSError) -> None:
        """Count an error of the disk, and leave it alone for a moment."""
        self.counts.errors += 1
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._is_failing:
            self._is_failing = True
            log.error("events are not spooled in %s: %s", self._root, error.strerror or error)

    def close(self) -> None:
        """Leave what is not acknowledged to the next boot."""
        self._later = lambda work: work()
        self._end_segment()
        for folder in self._folders():
            for segment in folder.over():
                _remove(segment.path)
            folder.close()
        self._left_behind.clear()
        self._own = None

    @property
    def _is_full(self) -> bool:
        """Whether what this server has written, in this boot or before, is at the bound."""
        return self.bytes - self._others_bytes >= self._config.most_bytes

    def _grow(self, folder: Folder, size: int) -> None:
        self.bytes += size
        if folder.boot[0] != self._server:  # its own bound was its server's
            self._others_bytes += size

    def _folders(self) -> Iterable[Folder]:
        """Return the folders in the order in which they are read."""
        return [*self._left_behind, *([self._own] if self._own else [])]

    def _segment(self, first_sequence: int) -> Segment:
        """Return the segment to write to."""
        own, config = self._own, self._config
        if own is None:
            raise OSError("the spool is not open")
        most = min(config.segment_bytes, config.most_bytes // SEGMENTS)
        if self._file >= 0 and own.segments[-1].size < most:
            return own.segments[-1]
        self._end_segment()
        path = own.path / f"{first_sequence:020d}{SUFFIX}"
        # One of that name is of a first write that failed: the folder is ours alone.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC
        self._file = os.open(path, flags, 0o600)
        own.segments.append(Segment(path=path, size=0, events=0, is_open=True))
        return own.segments[-1]

    def _end_segment(self) -> None:
        if self._file < 0 or self._own is None:
            return
        segment = self._own.segments[-1]
        with suppress(OSError):  # else the next boot finds a torn tail
            if os.fstat(self._file).st_size > segment.size:
                os.ftruncate(self._file, segment.size)
        os.close(self._file)
        self._file = -1
        segment.is_open = False
        if not segment.last_sequence:  # nothing came to be in it, and the next one has its name
            self._own.segments.pop()
            _remove(segment.path)
        self._clear(self._own)

    def _begin_anew(self, own: Folder) -> None:
        """Empty the open segment, if all of it is acknowledged: a kill leaves less to repeat."""
        segment = own.segments[-1] if own.segments else None
        if segment is None or not segment.is_open or segment.last_sequence > own.released:
            return
        with suppress(OSError):
            if segment.size:
                os.ftruncate(self._file, 0)
            self.bytes -= segment.size
            segment.size = segment.read = segment.synced = 0

    def _clear(self, folder: Folder) -> None:
        for segment in folder.over():
            self._grow(folder, -segment.size)
            self._later(partial(_remove, segment.path))
        if folder is not self._own and not folder.segments:
            self._left_behind.remove(folder)
            self._later(folder.close)


def sync(paths: Iterable[Path]) -> None:
    """Bring files to the disk, and the names of those that are new, and of their folders."""
    folders = {folder for path in paths for folder in path.parents[:FOLDERS]}
    for path in (*paths, *folders):
        with suppress(FileNotFoundError):  # acknowledged meanwhile
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
