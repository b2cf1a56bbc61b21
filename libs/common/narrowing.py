"""A model's `schema`: keywords that narrow its task's input schema, checked as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

KEYWORDS = frozenset(
    {
        *(
            "type",
            "enum",
            "const",
            "default",
            "title",
            "description",
            "examples",
            "format",
            "pattern",
        ),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "items", "contains"),
        *("minProperties", "maxProperties", "properties", "required", "additionalProperties"),
        *("allOf", "anyOf", "oneOf", "not"),
    }
)


def flaws(narrowing: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what does not stand: where, and why."""
    for name, value in narrowing.items():
        if not isinstance(value, Mapping):
            yield from _flaws_of({name: value}, ())
        else:
            yield from _flaws_of(value, (name,))


def _flaws_of(
    schema: Mapping[str, Any], at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    if unknown := [key for key in schema if key not in KEYWORDS]:
        for key in unknown:
            yield (*at, key), "no keyword of JSON Schema that narrows a field"
        return
    try:
        jsonschema_rs.validator_for(dict(schema))
    except (ValueError, TypeError, RecursionError) as error:  # what it is not able to read, too
        yield at or tuple(schema), f"no JSON Schema: {str(error).partition(chr(10))[0]}"
