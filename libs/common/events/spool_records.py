"""Sealed batches as a segment of the spool holds them, and what is whole of a segment.

    segment = record, record, ...
    record  = mark | uint32 crc of the rest of the head | uint32 crc of the body
              | uint32 bytes of the body | uint32 events | uint64 first sequence | body

Numbers are little-endian; the body is the batch's events, one behind the other. A broken
body is skipped by its length. A broken head has no length that one could trust, so that the
next whole head is looked for; where there is none, the segment ends there: a torn tail.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

log = logging.getLogger(__name__)

MARK = b"evts"
HEAD = struct.Struct("<4sIIIIQ")
_CHECKED = struct.Struct("<IIIQ")  # what of it the head's own checksum is of
_CHECKED_AT = HEAD.size - _CHECKED.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one look into a segment found: events that follow one another, and where to go on."""

    first_sequence: int = 0
    events: int = 0
    bodies: tuple[bytes, ...] = ()
    end: int
    # Records that are broken, and whether the segment ends within one.
    corrupt: int = 0
    is_torn: bool = False

    @property
    def last_sequence(self) -> int:
        """Return the sequence of the last event; 0 where there is none."""
        return self.first_sequence + self.events - 1 if self.events else 0


class _Head(NamedTuple):
    body_crc: int
    size: int
    events: int
    first_sequence: int


class _Found(NamedTuple):
    """A stretch of a segment: a record, whole or broken, or a torn tail."""

    end: int
    head: _Head | None = None
    body: bytes | None = None
    is_torn: bool = False


def head_of(body: bytes | memoryview, *, first_sequence: int, events: int) -> bytes:
    """Return what stands before a body."""
    checked = _CHECKED.pack(crc32(body), len(body), events, first_sequence)
    return MARK + crc32(checked).to_bytes(4, "little") + checked


def read_chunk(path: Path, start: int, end: int, *, most_events: int, most_bytes: int) -> Chunk:
    """Return the next events of a segment, from one record up to the bounds.

    A record that cannot be read is as good as broken, and so is all that is behind it.
    """
    bodies: list[bytes] = []
    first = events = size = corrupt = 0
    at, is_torn = start, False
    try:
        with path.open("rb") as file:
            for found in _walk(file, start, end):
                head, body = found.head, found.body
                if head is not None and body is not None:
                    follows = not bodies or head.first_sequence == first + events
                    fits = events + head.events <= most_events and size + head.size <= most_bytes
                    if bodies and not (follows and fits):
                        break
                    first = first if bodies else head.first_sequence
                    bodies.append(body)
                    events += head.events
                    size += head.size
                elif found.is_torn:
                    is_torn = True
                else:
                    corrupt += 1
                at = found.end
    except OSError as error:
        log.warning("cannot read %s, so that its events are lost: %s", path, error)
        at, corrupt = end, corrupt + 1
    return Chunk(
        first_sequence=first,
        events=events,
        bodies=tuple(bodies),
        end=at,
        corrupt=corrupt,
        is_torn=is_torn,
    )


def count_events(path: Path, end: int) -> int:
    """Return how many events the heads of a segment tell of, up to the first that is broken."""
    events = at = 0
    with path.open("rb") as file:
        while at < end and (head := _head(file.read(HEAD.size))) is not None:
            events += head.events
            at = file.seek(at + HEAD.size + head.size)
    return events


def _walk(file: BinaryIO, at: int, end: int) -> Iterator[_Found]:
    file.seek(at)
    while at < end:
        head = _head(file.read(HEAD.size))
        found = _after(file, at, end) if head is None else _record(file, at, end, head)
        yield found
        at = file.seek(found.end)


def _head(data: bytes) -> _Head | None:
    if len(data) < HEAD.size:
        return None
    mark, head_crc, *rest = HEAD.unpack(data)
    if mark != MARK or head_crc != crc32(data[_CHECKED_AT:]):
        return None
    return _Head(*rest)


def _record(file: BinaryIO, at: int, end: int, head: _Head) -> _Found:
    record_end = at + HEAD.size + head.size
    if record_end > end:
        return _Found(end, is_torn=True)
    body = file.read(head.size)
    return _Found(record_end, head, body if crc32(body) == head.body_crc else None)


def _after(file: BinaryIO, at: int, end: int) -> _Found:
    """Return the stretch from a broken head to the next whole one."""
    file.seek(at)
    data = file.read(end - at)
    place = data.find(MARK, 1)
    while place > 0:
        if _head(data[place : place + HEAD.size]) is not None:
            return _Found(at + place)
        place = data.find(MARK, place + 1)
    return _Found(end, is_torn=True)
