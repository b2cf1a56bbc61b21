"""Pictures and sound as clients send them, and what the first bytes of a file say it is.

The bytes themselves, base64, a data URI, an array of integers, or `{body, contentType}`
around one of these. A megabyte of base64 takes a tenth of a millisecond.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pybase64

from libs.common.errors import BadBase64, TooLarge
from services.entry.bad_input import bad_input, named
from services.entry.tasks.schema import Schema, type_of

# JSON Schema of a field that is a file; its content is checked here, not by the validator.
FILE: Final[Schema] = {
    "type": ["string", "array"],
    "description": "base64, a data URI, or an array of bytes",
    "contentEncoding": "base64",
    "items": {"type": "integer", "minimum": 0, "maximum": 255},
}
TYPED_FILE: Final[Schema] = {
    **FILE,
    "type": ["string", "array", "object"],
    "properties": {"body": FILE, "contentType": {"type": "string"}},
}
STAND_IN: Final = "a file"  # what the validator sees of one
WAYS: Final = "base64, a data URI, or an array of integers from 0 to 255"
OCTETS: Final = "application/octet-stream"
WHITE: Final = b" \t\r\n"
BYTE: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """How many bytes a file may have, once it is decoded."""

    image_bytes: int = 8 << 20
    audio_bytes: int = 10 << 20


NO_LIMITS: Final = FileLimits()


def file_bytes(value: Any, path: Iterable[str | int], most: int) -> bytes:
    """Return a file's bytes, whichever way they came; BadInput, BadBase64, TooLarge."""
    where = list(path)
    if isinstance(value, Mapping) and "body" in value:
        value = value["body"]
        where.append("body")
    if isinstance(value, bytes):
        read = value
    elif isinstance(value, str):
        read = _of_text(value, where, most)
    elif isinstance(value, list):
        if len(value) > most:
            raise _too_large(where, len(value), most)
        read = _of_integers(value, where)
    else:
        raise _bad_base64(where, f"expected {WAYS}, got {type_of(value)}")
    if not read:
        raise bad_input(where, "expected the bytes of a file, got none")
    if len(read) > most:
        raise _too_large(where, len(read), most)
    return read


def _of_text(text: str, where: list[str | int], most: int) -> bytes:
    """Read base64, as it is or in a data URI; line breaks in it are passed over."""
    if text.startswith(("http://", "https://")):
        raise _bad_base64(where, f"addresses are not fetched here: expected {WAYS}")
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise _bad_base64(where, "expected a data URI as data:<type>;base64,<data>")
    if len(text) * 3 // 4 > most + len(WHITE) + text.count("\n") * 2:
        raise _too_large(where, len(text) * 3 // 4, most)
    try:
        raw = text.encode("ascii")
        try:
            return pybase64.b64decode(raw, validate=True)
        except binascii.Error:
            return pybase64.b64decode(raw.translate(None, WHITE), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        expected = "expected A-Z, a-z, 0-9, + and /, and = where the end has to be filled up"
        raise _bad_base64(where, f"not base64: {expected}") from None


def _of_integers(values: list[Any], where: list[str | int]) -> bytes:
    try:
        return bytes(values)
    except (TypeError, ValueError):
        pass
    whole = bytearray()
    for at, each in enumerate(values):
        if isinstance(each, float) and each.is_integer():  # as some clients write them
            each = int(each)
        if type(each) is not int or not 0 <= each <= BYTE:
            said = each if isinstance(each, int | float) else type_of(each)
            raise bad_input([*where, at], f"expected an integer from 0 to {BYTE}, got {said}")
        whole.append(each)
    return bytes(whole)


def _bad_base64(where: list[str | int], problem: str) -> BadBase64:
    return named(BadBase64, where, problem)


def _too_large(where: list[str | int], size: int, most: int) -> TooLarge:
    return named(TooLarge, where, f"{size} bytes are more than the maximum of {most}")


def content_type_of(file: bytes) -> str:
    """Return what a file is by its first bytes; octets where they tell nothing."""
    for begin, kind in _BEGINNINGS:
        if file.startswith(begin):
            return kind
    if file[:4] == b"RIFF":
        return _IN_RIFF.get(file[8:12], OCTETS)
    if len(file) > 1 and file[0] == BYTE and file[1] >= 0xE0:  # the sync word of MPEG's frames
        return "audio/mpeg" if file[1] & 6 else "audio/aac"  # whose layer is 0 in ADTS
    return OCTETS


_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_IN_RIFF: Final[Mapping[bytes, str]] = {b"WAVE": "audio/wav", b"WEBP": "image/webp"}
