"""gRPC's framing of messages: a flag, four bytes of length, the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, TypeAlias

PREFIX: Final = Struct(">BI")
PREFIX_BYTES: Final = 5

Message: TypeAlias = bytes | Sequence[bytes]


class Compressed(Exception):
    """A message says that it is compressed, which nobody has offered."""


class TooLarge(Exception):
    """A message is longer than the limit."""


def size_of(message: Message) -> int:
    """Return how many bytes a message has."""
    if isinstance(message, bytes):
        return len(message)
    size = 0
    for chunk in message:  # compiled, that costs less than a sum
        size += len(chunk)
    return size


def framed(message: Message) -> list[bytes]:
    """Return a message's chunks, its prefix before them."""
    chunks = [message] if isinstance(message, bytes) else message
    return [PREFIX.pack(0, size_of(message)), *chunks]


def is_one(data: bytes, limit: int) -> bool:
    """Whether this is exactly one message, not compressed, within the limit: as mostly."""
    size = len(data) - PREFIX_BYTES
    return (
        0 <= size <= limit
        and data[0] == 0
        and (data[1] << 24 | data[2] << 16 | data[3] << 8 | data[4]) == size
    )


class Assembler:
    """Makes messages of one stream's DATA, wherever that is cut. Linear in the bytes fed."""

    __slots__ = ("_chunks", "_head", "_limit", "_missing")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = b""  # an incomplete prefix
        self._chunks: list[bytes] = []  # an incomplete message
        self._missing = 0

    def __repr__(self) -> str:
        return f"<Assembler missing={self.missing}>"

    @property
    def missing(self) -> int:
        """Return how many bytes the message that has begun is known to lack."""
        return self._missing or (PREFIX_BYTES - len(self._head) if self._head else 0)

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Append what is complete now. Raises Compressed, TooLarge."""
        start = 0
        if self._missing:
            if len(data) < self._missing:
                self._chunks.append(data)
                self._missing -= len(data)
                return
            start = self._missing
            self._chunks.append(data[:start])
            into.append(b"".join(self._chunks))
            self._chunks.clear()
            self._missing = 0
        elif self._head:
            data = self._head + data
            self._head = b""
        end = len(data)
        while end - start >= PREFIX_BYTES:
            length = (
                data[start + 1] << 24
                | data[start + 2] << 16
                | data[start + 3] << 8
                | data[start + 4]
            )
            if data[start] or length > self._limit:
                self._refuse(data[start], length)
            start += PREFIX_BYTES
            if end - start < length:
                self._missing = length - (end - start)
                if start < end:
                    self._chunks.append(data[start:])
                return
            into.append(data[start : start + length])
            start += length
        self._head = data[start:]

    def _refuse(self, flag: int, length: int) -> None:
        if flag:
            raise Compressed
        raise TooLarge(f"a message of {length} bytes; at most {self._limit} are taken")
