"""Spans as the body of an export request of OTLP, in protobuf, which every collector takes.

It is written here because the protocol's Python classes take 30 to 50 us for each span, as much as
a whole request costs, and most of what spans say they have in common with others: those bytes are
made once. The classes are the judges of it in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from libs.common.spans import Attribute, Span
from libs.common.varint import read_varint, varint

SCOPE: Final = "constellation"
SAMPLED: Final = 1
ALL_BITS: Final = 2**64 - 1
# Fields by their tags: the number, and how the value is written.
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"  # with their sizes
_STATE, _NAME, _ATTRIBUTE, _STATUS = b"\x1a", b"\x2a", b"\x4a", b"\x7a"
_KIND_TO_FLAGS: Final = struct.Struct("<BBBQBQHI")
_KIND, _START, _END, _FLAGS = 0x30, 0x39, 0x41, 0x0185
_FAILED: Final = b"\x18\x02"  # status: its code is "error"
_FIRST, _SECOND = b"\x0a", b"\x12"  # fields 1 and 2, of any message: texts, or messages
_BOOL, _INT, _DOUBLE = b"\x10", b"\x18", b"\x21"  # of a value
_SIZED: Final = 2  # how a text or message is written: its size, and it
_FIXED: Final = {1: 8, 5: 4}  # bytes, of numbers that always have as many


class ExportRequest:
    """One export request, to which spans are added."""

    def __init__(self, resource: Mapping[str, Attribute], version: str) -> None:
        about = b"".join(_sized(_FIRST, _key_value(*each)) for each in resource.items())
        self._resource = _sized(_FIRST, about)
        scope = _sized(_FIRST, SCOPE.encode()) + _sized(_SECOND, version.encode())
        self._spans = [_sized(_FIRST, scope)]

    def __repr__(self) -> str:
        return f"<ExportRequest {len(self._spans) - 1} spans>"

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans."""
        self._spans += [_sized(_SECOND, to_otlp(span)) for span in spans]

    def body(self) -> bytes:
        """Return the bytes to be sent."""
        of_scope = _sized(_SECOND, b"".join(self._spans))
        return _sized(_FIRST, self._resource + of_scope)


def to_otlp(span: Span) -> bytes:
    """Return a span as the protocol has it."""
    parts = [_TRACE_ID, bytes.fromhex(span.trace_id), _SPAN_ID, bytes.fromhex(span.span_id)]
    if span.parent_id:
        parts += (_PARENT_ID, bytes.fromhex(span.parent_id))
    if span.state:
        parts.append(_sized(_STATE, _text(span.state)))
    ended_ns = max(span.began_ns, span.ended_ns)
    parts += (
        _sized(_NAME, _text(span.name)),
        _KIND_TO_FLAGS.pack(
            _KIND, span.kind, _START, span.began_ns, _END, ended_ns, _FLAGS, SAMPLED
        ),
    )
    shared = span.shared
    if shared is not None:
        shared.written = shared.written or _attributes(shared.values)
        parts.append(shared.written)
    parts.append(_attributes(span.attributes))
    if span.has_failed:
        why = _sized(_SECOND, _text(span.error)) if span.error else b""
        parts.append(_sized(_STATUS, why + _FAILED))
    return b"".join(parts)


def rejected_in(answer: bytes) -> tuple[int, str]:
    """Return how many spans a collector's answer says that it did not take, and why."""
    try:
        partly = dict(_fields(answer)).get(1, b"")
        told = dict(_fields(partly)) if isinstance(partly, bytes) else {}
    except IndexError:  # some answer with words
        return 0, ""
    count, why = told.get(1, 0), told.get(2, b"")
    return (
        count if isinstance(count, int) else 0,
        why.decode("utf-8", "replace") if isinstance(why, bytes) else "",
    )


def _attributes(values: Mapping[str, Attribute]) -> bytes:
    return b"".join([_sized(_ATTRIBUTE, _key_value(*each)) for each in values.items()])


def _key_value(name: str, value: Attribute) -> bytes:
    return _key(name) + _sized(_SECOND, _value(value))


@lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    return _sized(_FIRST, _text(name))


def _value(value: Attribute) -> bytes:
    match value:
        case str():
            return _sized(_FIRST, _text(value))
        case bool():
            return _BOOL + varint(value)
        case int():
            return _INT + varint(value & ALL_BITS)
        case _:
            return _DOUBLE + struct.pack("<d", value)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield a message's fields by number; IndexError where it is none."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = read_varint(message, at)
            yield number, value
            continue
        if kind == _SIZED:
            size, at = read_varint(message, at)
        else:
            size = _FIXED.get(kind, len(message))
        if at + size > len(message):
            raise IndexError("a field is cut short")
        yield number, message[at : at + size]
        at += size
