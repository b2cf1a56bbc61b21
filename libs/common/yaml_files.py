"""YAML files into dataclasses; every mistake is found at once, with its file and line."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.constructor import ConstructorError

T = TypeVar("T")
Where = tuple[str | int, ...]
MOST_PLACES = 100_000
# What a value without quotes that begins with *, & or ! is taken for: it may be a password.
NAMED = re.compile(r"(?<=alias|nchor|e tag|andle) '.*")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One mistake: where it is, and what would be right."""

    file: str
    line: int = 0
    field: str = ""
    text: str

    def __post_init__(self) -> None:
        for name in ("file", "field", "text"):  # of half a character nothing can be printed or sent
            plain = getattr(self, name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, name, plain)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.text}" if self.field else f"{place}: {self.text}"


class Problems(Exception):
    """Mistakes in configuration files or settings."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))  # what stands for all services is told once
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
    """Read a file; Problems where it is no YAML, repeats a key, or is built of itself."""
    file = shown_as or str(path)
    text = _text(path, file)
    lines: dict[Where, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return Document(file, {}, {(): 1})
        flaws = [
            Problem(file=file, line=line, field=".".join(map(str, where)), text=why)
            for where, line, why in _index(node, (), lines, ())
        ]
        if flaws:
            raise Problems(flaws)
        return Document(file, _construct(node), lines)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = Problem(file=file, line=line, text=f"{error.reason}: {error.character!r}")
        raise Problems([problem]) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        text = NAMED.sub("", error.problem or "no YAML")
        raise Problems([Problem(file=file, line=line, text=text)]) from error
    except RecursionError as error:
        raise Problems([Problem(file=file, text="nested too deeply")]) from error


def parse(document: Document, cls: type[T], content: Any = None, where: Where = ()) -> T:
    """Turn a document, or the part of it at `where`, into `cls`; Problems for all mistakes."""
    content = document.content if content is None else content
    if not isinstance(content, Mapping):
        raise Problems([document.problem(where, "expected fields with values")])
    problems = [
        document.problem(where + at, unknown(str(at[-1]), known, "here"))
        for at, known in unknown_keys(cls, content)
    ]
    try:
        value = TypeAdapter(cls).validate_python(content)
    except ValidationError as error:
        problems += [
            document.problem(where + _place(e["loc"]), _say(e, is_secret(cls, e["loc"])))
            for e in error.errors()
        ]
    if problems:
        raise Problems(problems)
    return value


def is_secret(kind: Any, place: Where) -> bool:
    """Whether a field on the way to a place is out of `repr`: then its value is never told."""
    for each in place:
        if not dataclasses.is_dataclass(kind):
            return False
        found = next((field for field in dataclasses.fields(kind) if field.name == each), None)
        if found is None or not found.repr:
            return found is not None
        kind = typing.get_type_hints(kind)[found.name]
    return False


def unknown(name: str, known: Sequence[str], where: str) -> str:
    """Say that there is no such name, which was probably meant, and which there are."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f", perhaps {near[0]} is meant" if near else ""
    return f"unknown{meant}; known {where}: {', '.join(known)}"


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


def _text(path: Path, file: str) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise Problems([Problem(file=file, text=error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Problems([Problem(file=file, line=line, text="not UTF-8 text")]) from error


def _index(
    node: yaml.Node, at: Where, lines: dict[Where, int], within: tuple[yaml.Node, ...]
) -> Iterator[tuple[Where, int, str]]:
    """Note the line of everything below `node`; yield what cannot be, with its line and why."""
    line = node.start_mark.line + 1
    if any(node is each for each in within):  # by way of an anchor
        yield at, line, "contains itself"
        return
    if len(lines) > MOST_PLACES:  # anchors of anchors of anchors grow without bound
        raise yaml.MarkedYAMLError(problem="too much in one file", problem_mark=node.start_mark)
    lines.setdefault(at, line)
    if isinstance(node, yaml.MappingNode):
        yield from _index_mapping(node, at, lines, (*within, node))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _index(value, (*at, index), lines, (*within, node))


def _index_mapping(
    node: yaml.MappingNode, at: Where, lines: dict[Where, int], within: tuple[yaml.Node, ...]
) -> Iterator[tuple[Where, int, str]]:
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield at, line, "a key must be plain text"
            continue
        place = (*at, key.value)
        if place in lines:
            yield place, line, "given twice"
        lines[place] = line
        yield from _index(value, place, lines, within)


class _Loader(yaml.SafeLoader):
    """Says where a value stands that is not what it looks like, such as 2024-13-45."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConstructorError(None, None, f"no value: {error}", node.start_mark) from error


def _construct(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _place(loc: tuple[str | int, ...]) -> Where:
    """Leave out what pydantic adds to a place: the branch of a union."""
    return tuple(each for each in loc if isinstance(each, int) or each.isidentifier())


def _say(error: Any, is_hidden: bool) -> str:
    if error["type"] in ("missing", "missing_argument"):
        return "required"
    got = "got what is not shown" if is_hidden else f"got {error['input']!r}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, {got}"
