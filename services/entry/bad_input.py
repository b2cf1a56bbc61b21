"""How a bad field is named: one message that says what would be right, and its JSON pointer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from libs.common.errors import BadInput, RequestError

Error = TypeVar("Error", bound=RequestError)


def bad_input(path: Iterable[str | int], problem: str) -> BadInput:
    """Return the error for the field at `path`; an empty path is the body itself."""
    return named(BadInput, path, problem)


def named(cls: type[Error], path: Iterable[str | int], problem: str) -> Error:
    """Return another error for the field at `path`."""
    steps = list(path)
    return cls(f"{_name(steps) or 'body'}: {problem}", pointer=_pointer(steps))


def _name(steps: list[str | int]) -> str:
    """Write a path as people do: messages[0].content."""
    words = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return "".join(words).removeprefix(".")


def _pointer(steps: list[str | int]) -> str:
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return "".join(f"/{each}" for each in escaped)
