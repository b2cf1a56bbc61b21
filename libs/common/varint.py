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
    at += 1
    if number < 128:
        return number, at
    number &= 127
    for shift in range(7, 7 * LONGEST, 7):
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise IndexError("a number without end")


def read_short(data: bytes, at: int) -> tuple[int, int]:
    """Read one of at most four bytes; IndexError for one that is longer, or cut."""
    number = data[at]
    if number < 128:
        return number, at + 1
    number, end = read_varint(data, at)
    if end - at > SHORT:
        raise IndexError("a number that is not short")
    return number, end
