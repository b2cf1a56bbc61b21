"""The sampling parameters of a request, as vLLM names them and with its defaults."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .grammar import Part
from .json_grammar import BadSchema, any_object, of_schema


class BadParameter(ValueError):
    """A sampling parameter that cannot be used; the message names it."""


@dataclass(frozen=True)
class SamplingParameters:
    """How to choose the next token, and when to end."""

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    lora_name: str | None = None
    guided_decoding: Part | None = None


def parse(text: str, *, strict: bool = True) -> SamplingParameters:
    """Read the JSON object; names that are not known are errors if `strict`, else left out."""
    try:
        values = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise BadParameter("sampling_parameters is not valid JSON") from error
    if not isinstance(values, dict):
        raise BadParameter("sampling_parameters must be a JSON object")
    unknown = sorted(set(values) - set(_READERS))
    if unknown and strict:
        raise BadParameter(f"sampling parameter {unknown[0][:64]!r} is not supported")
    return _checked(values)


def _checked(values: Mapping[str, Any]) -> SamplingParameters:
    read: dict[str, Any] = {}
    for name, reader in _READERS.items():
        if values.get(name) is not None:
            try:
                read[name] = reader(values[name])
            except (ValueError, TypeError, OverflowError) as error:
                raise BadParameter(f"{name} must be {error}") from error
    result = SamplingParameters(**read)
    if result.min_tokens > result.max_tokens:
        raise BadParameter(f"min_tokens must be at most max_tokens ({result.max_tokens})")
    return result


Reader = Callable[[Any], Any]


def _number(meaning: str, fits: Callable[[float], bool]) -> Reader:
    def read(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (ValueError, TypeError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or not fits(number):
            raise ValueError(meaning)
        return number

    return read


def _whole(meaning: str, fits: Callable[[int], bool]) -> Reader:
    def read(value: Any) -> int:
        text = str(value).strip()
        text = text.removesuffix(".0") if isinstance(value, float) else text
        if isinstance(value, bool) or not text.lstrip("+-").isdecimal() or len(text) > 20:
            raise ValueError(meaning)
        if not fits(int(text)):
            raise ValueError(meaning)
        return int(text)

    return read


def _flag(value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise ValueError("a text, or a list of texts, none of them empty")
    return tuple(stops)


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def _seed(value: Any) -> int | None:
    number: int = _whole("a whole number of 64 bits", lambda seed: -(2**63) <= seed < 2**64)(value)
    return None if number == -1 else number  # as in vLLM: -1 is "no seed"


def _guide(value: Any) -> Part:
    """A schema in `json`, or any object; the backend of vLLM has it as JSON in a string."""
    meaning = "JSON with a schema in `json`, or with `json_object`"
    try:
        guide = json.loads(value) if isinstance(value, str) else value
        schema = guide.get("json")
        schema = json.loads(schema) if isinstance(schema, str) else schema
        if isinstance(schema, dict):
            return of_schema(schema)
    except BadSchema as error:
        raise ValueError(f"{meaning}: {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(meaning) from error
    if guide.get("json_object") is not True:
        raise ValueError(meaning)
    return any_object()


_READERS: dict[str, Reader] = {
    "max_tokens": _whole("a whole number of at least 1", lambda value: value >= 1),
    "min_tokens": _whole("a whole number of at least 0", lambda value: value >= 0),
    "temperature": _number("a number of at least 0", lambda value: value >= 0),
    "top_p": _number("a number above 0 and at most 1", lambda value: 0 < value <= 1),
    "top_k": _whole("a whole number: at least 1, or 0 or -1 for all", lambda value: value >= -1),
    "seed": _seed,
    "stop": _stops,
    "ignore_eos": _flag,
    "repetition_penalty": _number("a number above 0", lambda value: value > 0),
    "frequency_penalty": _number("a number from -2 to 2", lambda value: -2 <= value <= 2),
    "presence_penalty": _number("a number from -2 to 2", lambda value: -2 <= value <= 2),
    "lora_name": _name,
    "guided_decoding": _guide,
}
