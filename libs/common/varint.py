"""Protobuf's variable-length integers, for bytes that are spliced and not encoded."""

from __future__ import annotations

from typing import Final

SHORT: Final = 4  # bytes, of nearly all numbers that there are
SHORT_BITS: Final = 28
LONGEST: Final = 10  # bytes; protobuf takes no more

_SMALL: Final = tuple(bytes((number,)) for number in range(128))
_MEDIUM: Final = tuple(bytes((number & 127 | 128, number >> 7)) for number in range(128, 1 << 14))


def varint(number: int) -> bytes:
    """Return the number's bytes."""
    if number < 128:
        return _SMALL[number]
    if number < 1 << 14:
        return _MEDIUM[number - 128]
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where it ends; IndexError where it has no end."""
    number = data[at]
    if number < 128:
        return number, at + 1
    return _read(data, at, LONGEST)


def read_short(data: bytes, at: int) -> tuple[int, int]:
    """Read one of at most four bytes; IndexError for one that is longer, or cut."""
    number = data[at]
    if number < 128:
        return number, at + 1
    return _read(data, at, SHORT)


def _read(data: bytes, at: int, most: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift == most * 7:
            raise IndexError("a number without end")
