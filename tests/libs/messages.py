"""Protobuf messages as other writers lay them out, and as nobody should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import strategies as st

from libs.common.varint import read_varint, varint

TEXTS = st.text(max_size=8) | st.text("abc", max_size=200)
UNKNOWN = tuple(  # of numbers that no message has: a number, bytes, eight bytes
    varint(number << 3 | kind) + data
    for number in (50, 4000)
    for kind, data in ((0, b"\x05"), (2, b"\x03abc"), (1, b"12345678"))
)


def fields(data: bytes) -> list[bytes]:
    """Cut a message into its fields."""
    found, at = [], 0
    while at < len(data):
        start = at
        tag, at = read_varint(data, at)
        if tag & 7 == 2:
            size, at = read_varint(data, at)
            at += size
        elif tag & 7 == 0:
            _, at = read_varint(data, at)
        else:
            at += 8 if tag & 7 == 1 else 4
        found.append(data[start:at])
    return found


@st.composite
def laid_out_otherwise(draw: st.DrawFn, data: bytes) -> bytes:
    """Another message that may stand for the same: reordered, doubled, with unknown fields."""
    parts = fields(data)
    if draw(st.booleans()):
        parts = draw(st.permutations(parts))
    for _ in range(draw(st.integers(0, 2))):
        more = draw(st.sampled_from([*parts, *UNKNOWN]))
        parts.insert(draw(st.integers(0, len(parts))), more)
    return b"".join(parts)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that are a message no more, or another one."""
    at = draw(st.integers(0, len(data)))
    to = draw(st.integers(at, min(len(data), at + 3)))
    return data[:at] + draw(st.binary(max_size=3)) + data[to:]


def told(read: Callable[[bytes], Any], data: bytes) -> str:
    """What a reader makes of bytes, as text: not a number is equal to nothing."""
    try:
        return repr(read(data))
    except (DecodeError, ValueError, KeyError):
        return "refused"
