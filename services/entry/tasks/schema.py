"""A task's input schema, narrowed by its model's and compiled once per model.

A value is checked by compiled code in about a microsecond; only a bad one is looked
at a second time, to say in words what would be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jsonschema_rs
import orjson

from libs.common.errors import BadInput
from services.entry.bad_input import bad_input
from services.entry.spelling import misspelt

Schema = Mapping[str, Any]
LONGEST_SHOWN: Final = 40
DEEPEST: Final = 128  # the validator reads nothing that is nested deeper than 255


class InputSchema:
    """Checks a body and fills in what it leaves out."""

    def __init__(self, schema: Schema, narrowing: Schema | None = None) -> None:
        self.document = narrowed(schema, narrowing or {})
        self._validator = jsonschema_rs.validator_for(self.document)
        self._is_valid = self._validator.is_valid
        properties: Schema = self.document.get("properties", {})
        self._defaults = {n: _default(p) for n, p in properties.items() if "default" in p}
        self._integers = frozenset(n for n, p in properties.items() if p.get("type") == "integer")
        self._booleans = frozenset(n for n, p in properties.items() if p.get("type") == "boolean")

    def __repr__(self) -> str:
        return f"<InputSchema {' '.join(self.document.get('properties', {}))}>"

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body's values and the defaults of the others; BadInput names a bad one."""
        if self._booleans and not self._booleans.isdisjoint(body):
            body = {n: truth(v) if n in self._booleans else v for n, v in body.items()}
        if not self._is_valid(body):
            raise self._complaint(body)
        values = {**self._defaults, **body}
        if self._integers and not self._integers.isdisjoint(body):
            for name in self._integers:
                if name in body:
                    values[name] = int(values[name])  # JSON Schema takes 5.0 for an integer
        return values

    def _complaint(self, values: Mapping[str, Any]) -> BadInput:
        try:
            self._validator.validate(values)
        except jsonschema_rs.ValidationError as error:
            is_missing = error.kind.name in ("required", "oneOf", "anyOf")
            if is_missing and not list(error.instance_path):
                return misspelt(values, self.document.get("properties", {})) or _complaint(error)
            return _complaint(error)
        except ValueError as error:  # what it cannot read at all; it names no field then
            return _unreadable(values, error)
        raise AssertionError("the validator refused what it accepts")


def truth(value: Any) -> Any:
    """Return the boolean that a query string or a form writes as a word."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def narrowed(schema: Schema, narrowing: Schema) -> dict[str, Any]:
    """Return the schema with a model's keywords laid over its fields (or over itself)."""
    result = {**schema, "properties": dict(schema.get("properties", {}))}
    for name, value in whole_numbers(narrowing).items():
        if isinstance(value, Mapping):
            result["properties"][name] = {**result["properties"].get(name, {}), **value}
        else:
            result[name] = value
    return result


def whole_numbers(value: Any) -> Any:
    """Return the value with 512 for 512.0: protobuf's Struct has no integers."""
    if isinstance(value, Mapping):
        return {key: whole_numbers(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _default(schema: Schema) -> Any:
    """Return a field's default, moved inside of the bounds that a model has narrowed."""
    default = schema["default"]
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        return default
    return max(schema.get("minimum", default), min(default, schema.get("maximum", default)))


def _complaint(error: jsonschema_rs.ValidationError) -> BadInput:
    """Say which field is wrong, and what would be right."""
    error = _deepest(error)
    path, limits = list(error.instance_path), error.kind.as_dict()
    if error.kind.name == "required":
        return bad_input([*path, limits["property"]], "this field is required")
    if error.kind.name == "additionalProperties":
        return bad_input([*path, limits["unexpected"][0]], "there is no such field here")
    say = _SAY.get(error.kind.name)
    return bad_input(path, say(error.instance, limits) if say else error.message[:200])


def _unreadable(values: Mapping[str, Any], error: ValueError) -> BadInput:
    """Say which field is nested deeper than the validator goes, if it is that."""
    deep = next((name for name, value in values.items() if _is_deeper(value, DEEPEST)), None)
    if deep is not None:
        return bad_input([deep], "nested too deeply to be read")
    return bad_input([], f"cannot be read: {error}")


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (list, dict)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def _deepest(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Of alternatives, take the one that the value was meant to be: right in type at least."""
    branches = error.kind.as_dict().get("context", [])
    for branch in branches:
        first = branch[0] if branch else error
        if first.kind.name != "type" or first.instance_path != error.instance_path:
            return _deepest(first)
    return error


def _shown(value: Any) -> str:
    try:
        text = orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:  # a number of more than 64 bits, or nested too deeply
        text = str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def type_of(value: Any) -> str:
    """Return what JSON calls a value, with its article."""
    names = {bool: "a boolean", str: "a string", int: "an integer", float: "a number"}
    names |= {list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "something else")


def _types(limits: Schema) -> str:
    articles = {"integer": "an ", "array": "an ", "object": "an ", "null": ""}
    return " or ".join(f"{articles.get(each, 'a ')}{each}" for each in limits["types"])


_SAY: Final[Mapping[str, Callable[[Any, Schema], str]]] = {
    "type": lambda v, of: f"expected {_types(of)}, got {type_of(v)}",
    "maximum": lambda v, of: f"{_shown(v)} is greater than the maximum of {of['limit']}",
    "minimum": lambda v, of: f"{_shown(v)} is less than the minimum of {of['limit']}",
    "maxLength": lambda v, of: f"{len(v)} characters are more than the maximum of {of['limit']}",
    "minLength": lambda v, of: f"expected at least {of['limit']} character(s), got {len(v)}",
    "maxItems": lambda v, of: f"{len(v)} items are more than the maximum of {of['limit']}",
    "minItems": lambda v, of: f"expected at least {of['limit']} item(s), got {len(v)}",
    "enum": lambda v, of: (
        f"{_shown(v)} is not one of {', '.join(_shown(each) for each in of['options'])}"
    ),
}
