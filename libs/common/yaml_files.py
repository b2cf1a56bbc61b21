"""YAML files into dataclasses; every mistake is found at once, with its file and line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One mistake: where it is, and what would be right."""

    file: str
    line: int = 0
    field: str = ""
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.text}" if self.field else f"{place}: {self.text}"


class Problems(Exception):
    """Mistakes in configuration files or settings."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content, and the line of everything in it."""

    file: str
    content: Any
    lines: Mapping[Where, int]

    def problem(self, where: Where, text: str) -> Problem:
        """Return a mistake at the nearest place that has a line."""
        known = (where[:length] for length in range(len(where), -1, -1))
        line = next((self.lines[each] for each in known if each in self.lines), 1)
        return Problem(file=self.file, line=line, field=".".join(map(str, where)), text=text)


def read(path: Path, *, shown_as: str = "") -> Document:
    """Read a file; Problems where it is no YAML or repeats a key."""
    file = shown_as or str(path)
    try:
        node = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise Problems([Problem(file=file, text=error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        raise Problems([Problem(file=file, text="not UTF-8 text")]) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Problems([Problem(file=file, line=line, text=error.problem or "no YAML")]) from error
    if node is None:
        return Document(file, {}, {(): 1})
    lines: dict[Where, int] = {}
    repeated = [
        Problem(file=file, line=line, field=".".join(map(str, where)), text="given twice")
        for where, line in _index(node, (), lines)
    ]
    if repeated:
        raise Problems(repeated)
    return Document(file, _construct(node), lines)


def parse(document: Document, cls: type[T], content: Any = None, where: Where = ()) -> T:
    """Turn a document, or the part of it at `where`, into `cls`; Problems for all mistakes."""
    content = document.content if content is None else content
    if not isinstance(content, Mapping):
        raise Problems([document.problem(where, "expected fields with values")])
    problems = [
        document.problem(where + at, f"unknown; known here: {', '.join(known)}")
        for at, known in unknown_keys(cls, content)
    ]
    try:
        value = TypeAdapter(cls).validate_python(content)
    except ValidationError as error:
        problems += [document.problem(where + _place(e["loc"]), _say(e)) for e in error.errors()]
    if problems:
        raise Problems(problems)
    return value


def unknown_keys(kind: Any, content: Any, at: Where = ()) -> Iterator[tuple[Where, list[str]]]:
    """Yield the place of every key that the dataclass `kind` has no field for, and what it has."""
    if dataclasses.is_dataclass(kind) and isinstance(content, Mapping):
        hints = typing.get_type_hints(kind)
        names = [each.name for each in dataclasses.fields(kind)]
        for key, value in content.items():
            if key not in names:
                yield (*at, key), names
            else:
                yield from unknown_keys(hints[key], value, (*at, key))
    elif isinstance(content, Mapping) and len(typing.get_args(kind)) == 2:
        for key, value in content.items():
            yield from unknown_keys(typing.get_args(kind)[1], value, (*at, key))
    elif isinstance(content, Sequence) and not isinstance(content, str) and typing.get_args(kind):
        for index, value in enumerate(content):
            yield from unknown_keys(typing.get_args(kind)[0], value, (*at, index))


def _index(node: yaml.Node, at: Where, lines: dict[Where, int]) -> Iterator[tuple[Where, int]]:
    """Note the line of everything below `node`; yield what is there twice."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*at, key.value)
            if place in lines:
                yield place, key.start_mark.line + 1
            lines[place] = key.start_mark.line + 1
            yield from _index(value, place, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _index(value, (*at, index), lines)


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _place(loc: tuple[str | int, ...]) -> Where:
    """Leave out what pydantic adds to a place: the branch of a union."""
    return tuple(each for each in loc if isinstance(each, int) or each.isidentifier())


def _say(error: Any) -> str:
    if error["type"] in ("missing", "missing_argument"):
        return "required"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}"
