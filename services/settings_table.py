"""The tables of docs/settings.md, made of the services' settings, by `make docs`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Gt, Le, Lt

from libs.common.bounds import LONGEST_S, Address, HostPort, HttpUrl
from libs.common.databases import StoreUrl
from libs.common.hop_settings import FOR_ALL
from libs.common.otlp_settings import Pairs
from libs.common.written_tables import with_table
from services.commands import FLAGS, SWITCHES
from services.entry.clients import Networks
from services.settings import CLASSES

UNITS: Final = {  # how a name ends, and what its numbers are; the first that fits
    "_per_s": "number",
    "_s": "seconds",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_mb": "mebibytes",
    "_days": "days",
    "_share": "share",
}
WORDS: Final = {str: "text", Path: "path", bool: "`true` or `false`", int: "count", float: "number"}
NAMED: Final = {
    HttpUrl: "URL, or nothing",
    HostPort: "host:port, or nothing",
    Address: "host:port, `unix:/path`, or nothing",
    StoreUrl: "URL of a database, or nothing",
    Pairs: "`name=value,...`",
    Networks: "networks, or nothing",
}
EVERYWHERE: Final = {  # what all commands take
    "state_dir": ("CONSTELLATION_STATE_DIR", "--state-dir"),
    "root": ("CONSTELLATION_CONFIG", "--config"),
    "catalog_dir": ("CONSTELLATION_CONFIG", "--config"),
}
HEAD: Final = """\
| setting | default | takes | from the environment, or as a flag | meaning |
|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said of a setting."""

    name: str
    default: str
    takes: str
    given: tuple[str, ...]  # its variable, and its flag where there is one
    meaning: str


def all_settings() -> dict[str, list[Told]]:
    """Return every setting there is, by the service that has it."""
    return {service: list(settings(service, cls)) for service, cls in CLASSES.items()}


def settings(service: str, cls: type[Any]) -> Iterator[Told]:
    """Yield a service's settings, its own before those that others have, too."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {each.name: each for each in dataclasses.fields(cls)}
    for name, meaning in _meanings(cls).items():
        yield Told(
            name=name,
            default=shown(fields[name].default),
            takes=takes(name, hints[name]),
            given=EVERYWHERE.get(name, _given(service, name)),
            meaning=meaning,
        )


def _given(service: str, name: str) -> tuple[str, ...]:
    command = {"control": "scheduler"}.get(service, service)  # in whose process it runs
    variable, flag = f"CONSTELLATION_{service}_{name}".upper(), name.replace("_", "-")
    is_flag = flag in (*FLAGS[command], *SWITCHES.get(command, ()))
    return (variable, *((f"--{flag}",) if is_flag else ()), *_for_all(name))


def _for_all(name: str) -> tuple[str, ...]:
    return (FOR_ALL[name],) if name in FOR_ALL else ()


def shown(value: Any) -> str:
    """Return a default as YAML has it."""
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value) or '""'


def takes(name: str, hint: Any) -> str:
    """Return in words what a setting may be."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (inner,) = (each for each in typing.get_args(hint) if each is not type(None))
        return f"{takes(name, inner)}; or null"
    if hint in NAMED:
        return NAMED[hint]
    bounds: list[Any] = []
    if typing.get_origin(hint) is Annotated:
        hint, *bounds = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        *others, last = (f"`{each}`" for each in typing.get_args(hint))
        return f"{', '.join(others)} or {last}"
    if typing.get_origin(hint) is tuple:
        return f"list of {takes(name, typing.get_args(hint)[0])}"
    units = (unit for ending, unit in UNITS.items() if name.endswith(ending))
    word = next(units, WORDS[hint]) if hint in (int, float) else WORDS[hint]
    return ", ".join([word, *_bounds(bounds)])


def _bounds(bounds: list[Any]) -> Iterator[str]:
    for each in bounds:
        match each:
            case Gt(gt=least):
                yield f"above {least}"
            case Ge(ge=least):
                yield f"at least {least}"
            case Le(le=most) if typing.cast(float, most) < LONGEST_S:
                yield f"at most {most}"
            case Lt(lt=most) if typing.cast(float, most) < LONGEST_S:
                yield f"below {most}"


def _meanings(cls: type[Any]) -> dict[str, str]:
    """Return what stands below each field: of the class, then of those that it extends."""
    found: dict[str, str] = {}
    for each in cls.__mro__:
        if dataclasses.is_dataclass(each):
            found |= _below_fields(each)
    return found


def _below_fields(cls: type[Any]) -> dict[str, str]:
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(defined, ast.ClassDef)
    found = {}
    for field, below in zip(defined.body, [*defined.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            found[field.target.id] = _text(below)
    return found


def _text(below: ast.stmt | None) -> str:
    match below:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return " ".join(text.split()).removesuffix(".")
    return ""


def tables() -> str:
    """Return a table for each service, under its name."""
    return "\n".join(
        f"## {service}\n\n{inspect.getdoc(CLASSES[service])}\n\n{HEAD}{''.join(map(_row, told))}"
        for service, told in all_settings().items()
    )


def _row(told: Told) -> str:
    given = ", ".join(f"`{each}`" for each in told.given)
    default = told.default if told.default == "required" else f"`{told.default}`"
    meaning = told.meaning.replace("|", r"\|")
    return f"| `{told.name}` | {default} | {told.takes} | {given} | {meaning} |\n"


def main(path: Path) -> None:
    """Write the tables into a document."""
    path.write_text(with_table(path.read_text("utf-8"), tables()), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
