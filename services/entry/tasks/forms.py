"""Bodies that are not plainly JSON: forms, multipart forms, and the bytes of a picture or sound.

    fields(Sent(content, "multipart/form-data; boundary=x"), properties, raw_field="image")

A form's words become what the schema has for their field; files stay bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from libs.common.errors import BadInput
from services.entry.bad_input import bad_input
from services.entry.tasks.schema import Schema
from services.entry.tasks.sent import Sent, json_object

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
OCTETS: Final = "application/octet-stream"
MEDIA: Final = ("image/", "audio/", "video/")
WRITTEN_AS_JSON: Final = frozenset({"options", "tags", "requests", "stream_options"})
MOST_PARTS: Final = 256  # of a form; no task has as many fields
LOOKED_AT: Final = 128  # bytes of a body, to tell what it is
NO_TYPES: Final[frozenset[str]] = frozenset()


def fields(sent: Sent, properties: Schema, *, raw_field: str) -> Mapping[str, Any]:
    """Return the fields that a body says; `raw_field` is the one that plain bytes are, if any."""
    kind, parameters = parse_options_header(sent.content_type)
    if kind == MULTIPART:
        return _form(_parts(sent.content, parameters.get("boundary", "")), properties)
    if kind == FORM:
        return _of_unknown_type(sent.content, properties, raw_field)
    if kind == OCTETS and raw_field and not _begins_as_json(sent.content):
        return _raw(sent.content, raw_field)
    if kind.startswith(MEDIA):
        if not raw_field:
            raise bad_input([], f"expected a JSON object or a form, not {kind}")
        return _raw(sent.content, raw_field)
    return json_object(sent.content)


def _raw(content: bytes, raw_field: str) -> Mapping[str, Any]:
    if not content:
        raise bad_input([raw_field], "expected the bytes of a file, the body is empty")
    return {raw_field: content}


def _of_unknown_type(content: bytes, properties: Schema, raw_field: str) -> Mapping[str, Any]:
    """Read what curl sends without a type of its own: JSON, a form, or a file's bytes."""
    if not content or _begins_as_json(content):
        return json_object(content)
    name = content[:LOOKED_AT].partition(b"=")[0].decode("latin-1")
    if raw_field and name not in properties:
        return _raw(content, raw_field)
    try:
        pairs = parse_qsl(
            content.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_PARTS,
        )
    except ValueError:
        raise bad_input([], f"neither a JSON object nor a form of {MOST_PARTS} fields") from None
    return _form(pairs, properties)


def _begins_as_json(content: bytes) -> bool:
    return content[:LOOKED_AT].lstrip().startswith(b"{")


def _form(pairs: Iterable[tuple[str, str | bytes]], properties: Schema) -> dict[str, Any]:
    """Return a form's fields; one that comes more than once is a list."""
    found: dict[str, list[Any]] = {}
    for name, value in pairs:
        read = _meant(name, value, properties) if isinstance(value, str) else value
        found.setdefault(name, []).append(read)
    return {name: each[0] if len(each) == 1 else each for name, each in found.items()}


def _meant(name: str, text: str, properties: Schema) -> Any:
    """Return a form's text as the value that its field takes: a number, a list, or the text."""
    types = frozenset(_types(properties.get(name, {})))
    if name not in WRITTEN_AS_JSON and (not types or "string" in types):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text  # which the schema refuses in its own words


def _types(schema: Schema) -> Iterator[str]:
    """Yield the types that a field may have."""
    told = schema.get("type", ())
    yield from (told,) if isinstance(told, str) else told
    for branch in schema.get("anyOf", ()):
        yield from _types(branch)


def _parts(content: bytes, boundary: str) -> Iterator[tuple[str, str | bytes]]:
    """Yield the parts of a multipart form: files as bytes, the others as text."""
    segment: MultipartSegment | None = None
    pieces: list[bytes] = []
    try:
        parser = PushMultipartParser(
            boundary, max_segment_count=MOST_PARTS, max_header_size=4096, strict=True
        )
        with parser:
            for event in parser.parse(content):
                if isinstance(event, MultipartSegment):
                    segment, pieces = event, []
                elif event is None and segment is not None:
                    yield segment.name, _content(segment, b"".join(pieces))
                elif event:
                    pieces.append(bytes(event))
    except ParserLimitReached as error:
        raise bad_input([], f"a form that is too large to be read: {error}") from None
    except MultipartError as error:
        raise bad_input([], f"cannot be read as {MULTIPART}: {error}") from None


def _content(segment: MultipartSegment, raw: bytes) -> str | bytes:
    if segment.filename is not None or (segment.content_type or "").startswith((*MEDIA, OCTETS)):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _no_text(segment.name) from None


def _no_text(name: str) -> BadInput:
    return bad_input([name], "expected UTF-8 text; a file's part has a filename")
