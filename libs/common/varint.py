"""Protobuf's variable-length integers, for bytes that are spliced and not encoded."""

from __future__ import annotations

_SMALL = tuple(bytes((number,)) for number in range(128))
_MEDIUM = tuple(bytes((number & 127 | 128, number >> 7)) for number in range(128, 1 << 14))


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
    """Return the number that begins at `at`, and where it ends; IndexError where it is cut."""
    number = data[at]
    at += 1
    if number < 128:
        return number, at
    number &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
