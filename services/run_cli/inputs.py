"""From what was typed to the inputs of a call; what is wrong is told with its place."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

RAW = "application/octet-stream"
LONGEST_FILE = 64 * 1024 * 1024  # what one message of gRPC may have
_FIELD = re.compile(r"[A-Za-z_]\w*")


class CannotRun(Exception):
    """Something that the caller can put right; its text is the whole message."""


def inputs_of(text: str | None, files: Sequence[str]) -> tuple[dict[str, Any] | bytes, str]:
    """Return the fields of the call, or one file's bytes and their content type.

    A file without a field's name is the whole body if there are no inputs, else the field
    `image` or `audio`, as its name's ending says.
    """
    if text is None and not files:
        raise CannotRun('inputs: expected JSON, such as \'{"prompt": "Hello"}\', or --file')
    if text is None and len(files) == 1 and _named(files[0])[0] == "":
        path = Path(files[0])
        return content(path), _type(path) or RAW
    fields = {} if text is None else fields_of(text)
    for each in files:
        field, path = _named(each)
        field = field or (_type(path) or "").partition("/")[0]
        if field not in ("image", "audio") and "=" not in each:
            raise CannotRun(f"--file {each}: it is not known for what: give --file FIELD={each}")
        if field in fields:
            raise CannotRun(f"--file {each}: the inputs have the field {field!r} already")
        fields[field] = content(path)
    return fields, ""


def fields_of(text: str) -> dict[str, Any]:
    """Read inputs that must be a JSON object; the error says where they are broken."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise CannotRun(f"inputs: not valid JSON at {where}: {error.msg}") from None
    if not isinstance(value, dict):
        raise CannotRun("inputs: expected a JSON object")
    return value


def content(path: Path) -> bytes:
    """Return a file's bytes, if one call may have so many."""
    try:
        with path.open("rb") as file:
            found = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise CannotRun(f"--file {path}: {error.strerror}") from error
    if len(found) > LONGEST_FILE:
        raise CannotRun(f"--file {path}: more than {LONGEST_FILE} bytes")
    return found


def options_of(said: Sequence[str]) -> dict[str, str]:
    """Return options by the names that the client has for them."""
    found: dict[str, str] = {}
    for each in said:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise CannotRun(f"--option {each}: expected NAME=VALUE")
        found[re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)] = value
    return found


def _named(file: str) -> tuple[str, Path]:
    """Return the field, empty where none is named, and the path."""
    field, equals, path = file.partition("=")
    if equals and _FIELD.fullmatch(field):
        return field, Path(path)
    return "", Path(file)


def _type(path: Path) -> str | None:
    return mimetypes.guess_type(path.name)[0]
