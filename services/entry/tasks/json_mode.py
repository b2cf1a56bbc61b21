"""JSON mode: what `response_format` asks for, and whether an answer is that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
import orjson

from libs.common.errors import JsonModeFailed
from services.entry.bad_input import bad_input
from services.entry.tasks.schema_weight import BadSchema, weigh

Schema = Mapping[str, Any]
# Others wait while a schema is compiled, and while an answer is held against it.
LARGEST: Final = 32 * 1024  # bytes
MOST_PARTS: Final = 20_000  # with every $ref followed
MOST_STEPS: Final = 1_000_000  # what $refs that loop may take, at the depth of the answer
WHERE: Final = ("response_format", "json_schema")
PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=16 * 1024)  # linear in the text's length
FENCE: Final = "```"


class JsonMode:
    """One call's wish for JSON: any object, or what a schema of its own describes."""

    __slots__ = ("_is_valid", "_loops", "description", "name", "schema")

    def __init__(self, schema: Schema | None, name: str = "answer", description: str = "") -> None:
        """Compile the schema; None takes any object. Raises BadInput."""
        self.schema = schema
        self.name = name
        self.description = description
        self._loops = 0 if schema is None else _loops_of(schema)
        self._is_valid = None if schema is None else _compiled(schema).is_valid

    def __repr__(self) -> str:
        return f"<JsonMode {'any object' if self.schema is None else self.name}>"

    def openai_format(self) -> dict[str, Any]:
        """Return the wish as OpenAI's API has it."""
        if self.schema is None:
            return {"type": "json_object"}
        wrapped = {"name": self.name, "schema": self.schema, "strict": True}
        return {"type": "json_schema", "json_schema": wrapped}

    def read(self, text: str, finish_reason: str = "") -> Any:
        """Return what the text says; raises JsonModeFailed."""
        try:
            value = orjson.loads(_unfenced(text))
        except orjson.JSONDecodeError as error:
            cut = finish_reason == "length"
            why = "the answer was cut off by max_tokens" if cut else f"not JSON: {error.msg}"
            raise _failed(why) from None
        if self._is_valid is None:
            if type(value) is not dict:
                raise _failed("the answer is no object")
            return value
        if self._loops > 1 and self._loops ** _depth(value) > MOST_STEPS:
            raise _failed("the answer is nested too deeply for a schema with so many loops")
        try:
            fits = self._is_valid(value)
        except ValueError:  # nested more deeply than the validator goes
            fits = False
        if not fits:
            raise _failed("the answer does not fit the schema")
        return value


def json_mode_of(response_format: Mapping[str, Any] | None) -> JsonMode | None:
    """Read a `response_format`; None where it asks for text. Raises BadInput.

    A schema stands bare in `json_schema`, or in OpenAI's wrapping of name, schema and strict.
    """
    if response_format is None or response_format["type"] == "text":
        return None
    if response_format["type"] == "json_object":
        return JsonMode(None)
    given = response_format.get("json_schema")
    if not isinstance(given, dict):
        raise bad_input(WHERE, "expected a JSON Schema, or an object with name and schema")
    wrapped = given.get("schema")
    if not isinstance(wrapped, dict):
        return JsonMode(given)
    name, description = given.get("name"), given.get("description")
    return JsonMode(
        wrapped,
        name if isinstance(name, str) and name else "answer",
        description if isinstance(description, str) else "",
    )


def _loops_of(schema: Schema) -> int:
    """Return how many $refs loop in a client's schema; BadInput where it would take too long."""
    try:
        size = len(orjson.dumps(schema))
    except TypeError:  # its words for too deep
        raise bad_input(WHERE, "nested too deeply") from None
    if size > LARGEST:
        raise bad_input(WHERE, f"{size} bytes are more than the maximum of {LARGEST}")
    try:
        weight = weigh(schema)
    except BadSchema as error:
        raise bad_input(WHERE, str(error)) from None
    if weight.parts > MOST_PARTS:
        raise bad_input(WHERE, f"its $refs unfold to more than {MOST_PARTS} parts")
    return weight.loops


def _compiled(schema: Schema) -> jsonschema_rs.Validator:
    """Compile a client's schema; it may look nothing up elsewhere. Raises BadInput."""
    try:
        return jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=PATTERNS)
    except jsonschema_rs.ValidationError as error:
        raise bad_input(WHERE, f"no JSON Schema: {error.message[:200]}") from None
    except (ValueError, TypeError) as error:  # TypeError: its words for too deep
        raise bad_input(WHERE, f"cannot be read as a JSON Schema: {str(error)[:200]}") from None


def _depth(value: Any) -> int:
    """Return how deeply a value is nested; orjson has read it, so it is not without a bound."""
    deepest, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        deepest += 1
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [item for each in inner for item in each if isinstance(item, dict | list)]
    return deepest


def _unfenced(text: str) -> str:
    """Return the JSON that a model has put between the marks of a code block."""
    text = text.strip()
    if not (text.startswith(FENCE) and text.endswith(FENCE) and "\n" in text):
        return text
    return text[text.index("\n") : -len(FENCE)]


def _failed(why: str) -> JsonModeFailed:
    return JsonModeFailed(f"JSON Mode couldn't be met: {why}", sent=True)
