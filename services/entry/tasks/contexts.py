"""Contexts: the texts that a query is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.entry.bad_input import bad_input
from services.entry.tasks.schema import Schema

CONTEXTS: Final[Schema] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 100,
    "items": {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1}},
        "required": ["text"],
    },
}


def check_query(body: Mapping[str, Any]) -> None:
    """Refuse a query that has nothing to be held against."""
    if "query" in body and "contexts" not in body:
        raise bad_input(["contexts"], "this field is required with a query")


def texts_of(values: Mapping[str, Any]) -> list[str]:
    """Return the contexts' texts."""
    return [each["text"] for each in values["contexts"]]


def characters(values: Mapping[str, Any], *names: str) -> int:
    """Return how many characters these fields have, and the contexts if there are any."""
    total = sum(len(values[name]) for name in names if name in values)
    return total + sum(map(len, texts_of(values))) if "contexts" in values else total
