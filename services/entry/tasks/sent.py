"""A body as it was sent, and the JSON object that most of them are."""

from __future__ import annotations

from typing import Any, Final

import orjson

from libs.common.values import Value
from services.entry.bad_input import bad_input

# Content types that are read as JSON without a further look.
JSON_TYPES: Final = frozenset({"", "application/json", "application/json; charset=utf-8"})


class Sent(Value):
    """A body's bytes, without their Content-Encoding, and the type that they claim."""

    __slots__ = ("content", "content_type")

    def __init__(self, content: bytes, content_type: str = "") -> None:
        self.content = content
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"<Sent {len(self.content)} bytes of {self.content_type or 'no type'}>"


def json_object(raw: bytes) -> dict[str, Any]:
    """Read a body that must be a JSON object; BadInput says where it is broken."""
    if not raw:
        raise bad_input([], "expected a JSON object, the body is empty")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise bad_input([], f"not valid JSON at {where}: {error.msg}") from None
    if type(value) is not dict:
        raise bad_input([], "expected a JSON object")
    return value
