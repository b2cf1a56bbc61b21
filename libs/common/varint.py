"""Protobuf's variable-length integers, for bytes that are spliced and not encoded."""

from __future__ import annotations

from typing import Final

SHORT: Final = 4  # bytes, of nearly all numbers that there are
SHORT_BITS: Final = 28
LONGEST: Final = 10  # bytes; protobuf takes no more
WIDE_ZERO: Final = 0x00_80_80_80  # nothing in four bytes: the lower three say that more follow
LARGEST_WIDE: Final = (1 << SHORT_BITS) - 1

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


def wide(number: int) -> int:
    """Return what four little-endian bytes of a number of at most 28 bits are, as an integer.

    So it has four of them however small it is, which protobuf reads like fewer.
    """
    return (
        number & 0x7F
        | (number & 0x3F80) << 1
        | (number & 0x1F_C000) << 2
        | (number & 0xFE0_0000) << 3
        | WIDE_ZERO
    )


def narrow(written: int) -> int:
    """Return the number of which `wide` has made that."""
    return (
        written & 0x7F
        | written >> 1 & 0x3F80
        | written >> 2 & 0x1F_C000
        | written >> 3 & 0xFE0_0000
    )


def are_wide(common: int, joined: int) -> bool:
    """Whether `wide` has made them: by the bits that all of them have, and that any of them has."""
    return common & WIDE_ZERO == WIDE_ZERO and not joined >> 31


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
