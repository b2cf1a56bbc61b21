"""A JSON Schema as a grammar: what of it says what to write. The rest is for whoever checks.

Where a schema sets no bound, one is set here: a small model may not know when to end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .grammar import Chain, Choice, Later, OneOf, Part, Repeat, text

Schema = Mapping[str, Any]
LONGEST_STRING = 64  # characters
LONGEST_NAME = 12
MOST_ITEMS = 3  # beyond the fewest
MOST_DIGITS = 6
MOST_NUMBERS = 200  # of a range that are written out
DEEPEST = 64
JOINING = ("anyOf", "oneOf", "allOf")
TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
ASCII = OneOf({*range(0x20, 0x7F)} - {ord('"'), ord("\\")})
TAIL = OneOf(range(0x80, 0xC0))
CHARACTER = Choice(
    [
        ASCII,
        Chain(text("\\"), OneOf(b'"\\/bfnrt')),
        Chain(OneOf(range(0xC2, 0xE0)), TAIL),
        Chain(OneOf(range(0xE1, 0xED)), TAIL, TAIL),
    ]
)
DIGIT = OneOf(b"0123456789")
NATURAL = Choice([text("0"), Chain(OneOf(b"123456789"), Repeat(DIGIT, 0, MOST_DIGITS - 1))])
INTEGER = Chain(Repeat(text("-"), 0, 1), NATURAL)
FRACTION = Repeat(Chain(text("."), Repeat(DIGIT, 1, 3)), 0, 1)
NAME = Chain(text('"'), Repeat(OneOf(b"abcdefghijklmnopqrstuvwxyz_"), 1, LONGEST_NAME), text('"'))


class BadSchema(ValueError):
    """A schema of which no grammar can be made; the message says why."""


def any_object() -> Part:
    """An object of texts, numbers, booleans and nulls."""
    simple = [_string({}), INTEGER, text("true"), text("false"), text("null")]
    member = Chain(NAME, text(":"), Choice(simple))
    return _between("{", "}", member, 1, 1 + MOST_ITEMS)


def of_schema(schema: Schema) -> Part:
    """What fits a schema, as far as it says what to write."""
    return _Maker(schema).make(schema, 0)


class _Maker:
    """Makes each part that a `$ref` leads to once."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._made: dict[str, Later] = {}

    def make(self, schema: Any, depth: int) -> Part:
        """The grammar of one part."""
        if depth > DEEPEST:
            raise BadSchema("it is nested too deeply")
        if not isinstance(schema, Mapping):  # true: anything
            return any_object() if depth == 0 else _string({})
        if isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"], depth)
        if "const" in schema:
            return _literal(schema["const"])
        if isinstance(schema.get("enum"), list):
            return _choice([_literal(each) for each in schema["enum"][:MOST_NUMBERS]])
        word = next((each for each in JOINING if isinstance(schema.get(each), list)), "")
        if word:
            return self._joined(word, schema, depth)
        return Choice([self._typed(kind, schema, depth) for kind in _types(schema)])

    def _joined(self, word: str, schema: Schema, depth: int) -> Part:
        """What fits one of some schemas, or all of them, and what is said beside them."""
        rest = {name: value for name, value in schema.items() if name != word}
        if word == "allOf":
            return self.make(_merged([rest, *map(self._target, schema[word])]), depth + 1)
        return _choice([self.make({**rest, **each}, depth + 1) for each in schema[word]])

    def _typed(self, kind: str, schema: Schema, depth: int) -> Part:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "string":
            return _string(schema)
        if kind in ("integer", "number"):
            return _number(schema, is_whole=kind == "integer")
        return Choice([text("true"), text("false")]) if kind == "boolean" else text("null")

    def _object(self, schema: Schema, depth: int) -> Part:
        """The properties in their order, each that is not required or not."""
        properties: Schema = schema.get("properties") or {}
        required = schema.get("required") or []
        if not properties and not required:
            return any_object()
        names = [*properties, *(name for name in required if name not in properties)]
        # From the last to the first: what follows where something stands before it, or nothing.
        after: Part = text("}")
        first: Part = text("}")
        for name in reversed(names):
            value = self.make(properties.get(name, {}), depth + 1)
            member = Chain(text(json.dumps(name, ensure_ascii=False) + ":"), value)
            one, more = Chain(member, after), Chain(text(","), member, after)
            is_optional = name not in required
            first = Choice([one, first]) if is_optional else one
            after = Choice([more, after]) if is_optional else more
        return Chain(text("{"), first)

    def _array(self, schema: Schema, depth: int) -> Part:
        fewest = int(schema.get("minItems", 0))
        most = min(int(schema.get("maxItems", fewest + MOST_ITEMS)), fewest + MOST_ITEMS)
        item = self.make(schema.get("items", {"type": "string"}), depth + 1)
        return _between("[", "]", item, fewest, most)

    def _referred(self, ref: str, depth: int) -> Part:
        if ref not in self._made:
            # What refers to itself seems endless meanwhile, so that another way is taken.
            self._made[ref] = later = Later()
            later.part = self.make(self._target({"$ref": ref}), depth + 1)
            later.least = later.part.least
        return self._made[ref]

    def _target(self, schema: Any) -> Any:
        """What a `$ref` leads to; any other schema as it is."""
        ref = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(ref, str):
            return schema
        node: Any = self._root
        for step in ref.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (LookupError, ValueError, TypeError) as error:
                raise BadSchema(f"{ref!r} leads nowhere") from error
        return node


def _choice(parts: list[Part]) -> Part:
    if not parts:
        raise BadSchema("nothing fits a part of it")
    return Choice(parts)


def _types(schema: Schema) -> list[str]:
    said = schema.get("type")
    if said is None:
        words = {"properties": "object", "required": "object", "items": "array"}
        said = next((kind for word, kind in words.items() if word in schema), "string")
    kinds = [said] if isinstance(said, str) else said
    if not isinstance(kinds, list) or not kinds or any(kind not in TYPES for kind in kinds):
        raise BadSchema(f"{said!r} is no type")
    return kinds


def _merged(schemas: list[Any]) -> Schema:
    """Schemas that must all fit, as one, as far as they say the same kind of thing."""
    result: dict[str, Any] = {}
    for schema in schemas:
        for name, value in (schema if isinstance(schema, Mapping) else {}).items():
            if name == "properties":
                result[name] = {**result.get(name, {}), **value}
            elif name == "required":
                result[name] = [*result.get(name, []), *value]
            else:
                result[name] = value
    return result


def _string(schema: Schema) -> Part:
    fewest = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", max(fewest, LONGEST_STRING)))
    return Chain(text('"'), Repeat(CHARACTER, fewest, most), text('"'))


def _number(schema: Schema, *, is_whole: bool) -> Part:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None and "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + 1
    if most is None and "exclusiveMaximum" in schema:
        most = schema["exclusiveMaximum"] - 1
    if least is None and most is None:
        return INTEGER if is_whole else Chain(INTEGER, FRACTION)
    first = math.floor(most) - MOST_NUMBERS + 1 if least is None else math.ceil(least)
    last = first + MOST_NUMBERS - 1
    last = last if most is None else min(math.floor(most), last)
    return _choice([text(str(value)) for value in range(first, last + 1)])


def _literal(value: Any) -> Part:
    return text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _between(begin: str, end: str, item: Part, fewest: int, most: int) -> Part:
    """So many items with commas, between two marks."""
    if most < 1:
        return text(begin + end)
    more = Repeat(Chain(text(","), item), max(0, fewest - 1), most - 1)
    full = Chain(text(begin), item, more, text(end))
    return full if fewest else Choice([text(begin + end), full])
