"""Header blocks: written without any state, decoded once each (RFC 7541; RFC 9113, section 8.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final, Generic, TypeAlias, TypeVar

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.table import HeaderTable

from libs.lean import frames
from libs.lean.frames import ConnectionFailure, ErrorCode

Field: TypeAlias = tuple[str, str]
P = TypeVar("P")

LARGEST_BLOCK: Final = frames.SMALLEST_MAX_FRAME  # so that ours never needs a CONTINUATION
LONGEST_CACHED: Final = 1024  # bytes of a block; longer ones hardly repeat
MOST_CACHED: Final = 512
# Decoding goes on that far beyond the announced limit, so that one call can be refused and the
# connection live; what is larger still is an attack.
GRACE: Final = 4

_STATIC_FIELDS: Final = {field: i for i, field in enumerate(HeaderTable.STATIC_TABLE, 1)}
_STATIC_NAMES: Final = {name: i for (name, _), i in reversed(_STATIC_FIELDS.items())}
_EMPTY_TABLE: Final = b"\x20"  # "our dynamic table has size 0"; said in each block, which is legal
_SIZE_BITS: Final = 0xE0  # of a first byte that changes the size
_NEVER_INDEXED: Final = 0x10

_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(r"(?:[^\x00\r\n\t ](?:[^\x00\r\n]*[^\x00\r\n\t ])?)?")
_SENDABLE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_OF_CONNECTIONS: Final = frozenset(
    ("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade")
)


def encode(fields: Iterable[Field]) -> bytes:
    """Return a block that means the same on every connection. ValueError for what cannot be sent.

    No field enters the dynamic table; those that are not in the static one are never indexed by
    intermediaries either.
    """
    return extended(_EMPTY_TABLE, fields)


def extended(block: bytes, fields: Iterable[Field]) -> bytes:
    """Return a block with more fields behind those that it has. ValueError as above."""
    parts = [block]
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _SENDABLE.fullmatch(value):
            raise ValueError(f"no header can hold {name!r}: {value!r}")
        parts.append(_literal(name.encode(), value.encode()))
    whole = b"".join(parts)
    if len(whole) > LARGEST_BLOCK:
        raise ValueError(f"{len(whole)} bytes of headers, at most {LARGEST_BLOCK} can be sent")
    return whole


def _literal(name: bytes, value: bytes) -> bytes:
    if (name, value) in _STATIC_FIELDS:
        return bytes((0x80 | _STATIC_FIELDS[name, value],))
    index = encode_integer(_STATIC_NAMES.get(name, 0), 4)
    index[0] |= _NEVER_INDEXED
    spelled = b"" if name in _STATIC_NAMES else bytes(encode_integer(len(name), 7)) + name
    return bytes(index) + spelled + bytes(encode_integer(len(value), 7)) + value


class Head:
    """A constant block as HEADERS frames: alone, or with the beginning of a DATA frame."""

    __slots__ = ("_alone", "_start", "_with_data", "block")

    def __init__(self, block: bytes, *, end_stream: bool = False) -> None:
        flags = frames.END_HEADERS | (frames.END_STREAM if end_stream else 0)
        self._start = frames.frame(frames.HEADERS, flags, 0, block)[:5]
        self.block = block
        self._alone = Struct(f">5sI{len(block)}s").pack
        self._with_data = Struct(f">5sI{len(block)}sIBIBI").pack

    def frame(self, stream_id: int) -> bytes:
        """Return the HEADERS frame."""
        return self._alone(self._start, stream_id, self.block)

    def with_message(self, stream_id: int, flags: int, size: int) -> bytes:
        """Return it, the head of a DATA frame that holds one message, and the message's prefix."""
        length = size + 5 << 8
        return self._with_data(
            self._start, stream_id, self.block, length, flags, stream_id, 0, size
        )


class BlockReader(Generic[P]):
    """Decodes the blocks of one connection in their order, each distinct one only once.

    `parse` makes of the fields, and of whether they are more than allowed, what is kept.
    """

    def __init__(self, parse: Callable[[list[Field], bool], P], max_bytes: int) -> None:
        self._parse = parse
        self._max_bytes = max_bytes
        self._decoder = Decoder(max_header_list_size=max_bytes * GRACE)
        self._table_bytes: int | None = None  # once the peer has accepted it
        self._is_stateless = False
        self._known: dict[bytes, P] = {}

    def __repr__(self) -> str:
        return f"<BlockReader stateless={self._is_stateless} known={len(self._known)}>"

    def limit_state(self, table_bytes: int) -> None:
        """Hear that the peer has accepted a dynamic table of that size.

        Its next block has to say so. Some peers forget that: they cost more, and work.
        """
        self._table_bytes = table_bytes

    def read(self, block: bytes) -> P:
        """Return what the block says. Raises ConnectionFailure: the state would be lost."""
        known = self._known.get(block)
        return self._decode(block) if known is None else known

    def _decode(self, block: bytes) -> P:
        if self._table_bytes is not None and block and block[0] & _SIZE_BITS == _EMPTY_TABLE[0]:
            self._decoder.max_allowed_table_size = self._table_bytes
        try:
            decoded = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "far too many headers") from error
        except (HPACKError, IndexError) as error:
            raise ConnectionFailure(ErrorCode.COMPRESSION_ERROR, "a broken block") from error
        # latin-1: each byte is a character, and what they mean is for `parse` to say
        fields = [(str(n, "latin-1"), str(v, "latin-1")) for n, v, *_ in decoded]
        size = sum(len(name) + len(value) + 32 for name, value in fields)
        parsed = self._parse(fields, size > self._max_bytes)
        if not self._is_stateless:  # final: a table of size 0 cannot grow again
            self._is_stateless = self._decoder.max_allowed_table_size == 0
        if self._is_stateless and len(block) <= LONGEST_CACHED:
            if len(self._known) >= MOST_CACHED:
                self._known.clear()
            self._known[block] = parsed
        return parsed


def split(fields: list[Field]) -> tuple[dict[str, str], dict[str, str]]:
    """Part pseudo-headers from the others, joining what repeats. ValueError: malformed."""
    pseudo: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"malformed header {name!r}")
        if name[0] == ":":
            if others or name in pseudo:
                raise ValueError(f"misplaced {name}")
            pseudo[name] = value
        elif name in _OF_CONNECTIONS or (name == "te" and value != "trailers"):
            raise ValueError(f"{name} is for HTTP/1")
        else:
            others[name] = f"{others[name]},{value}" if name in others else value
    return pseudo, others


def content_length(fields: dict[str, str]) -> int:
    """Return the content-length, -1 without one. ValueError: malformed."""
    text = fields.get("content-length")
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError("malformed content-length")
    return int(text)


def is_grpc(content_type: str) -> bool:
    """Whether a content-type is gRPC's."""
    return content_type == "application/grpc" or content_type.startswith(
        ("application/grpc+", "application/grpc;")
    )
