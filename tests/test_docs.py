"""The documents say what the code says: fields, defaults, errors, metrics, names, links."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common import error_table
from libs.common.catalog import Finetune, Model
from libs.common.catalog_files import load_catalog
from libs.common.errors import BY_REASON, BadHttp, NeuronsUsedUp
from libs.common.events.values import Flag, InferenceEvent
from libs.common.world_map import Colo
from libs.common.written_tables import with_table
from services import metric_table, settings_table
from services.commands import _parser
from services.entry.fronts.hot import MEANINGS
from services.entry.fronts.ops import ROUTES
from services.entry.options import SCHEMA as OPTIONS
from services.entry.tasks.registry import TASKS
from services.settings import CLASSES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    each for folder in ("", "docs", "bench") for each in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"`((?:services|libs|bench)(?:\.\w+)+)`")
FOLDERS = "services|libs|proto|models|config|tests|docs|bench"
FILE = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

SHOWN_BY = "event_loop|spans|entry|server|node|control|analytics"
OURS = f"constellation_(?:{SHOWN_BY})|ai_scheduler|gen_ai_server"
METRIC = re.compile(rf"\b((?:{OURS})_\w+)")
FUZZ = re.compile(r"environ.get\(\"(\w+_FUZZ_SECONDS)\"")

Row = tuple[str, ...]


# --- reading the documents ---


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose(name: str) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```", "", text(name), flags=re.M | re.S)


def section(name: str, heading: str) -> str:
    """What stands under a heading, up to the next one that is as high."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text(name), re.M | re.S)
    assert found, f"{name} has no section {heading!r}"
    return found[2]


def rows(markdown: str) -> list[Row]:
    """The rows of all tables, cell by cell."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def defaults(markdown: str) -> dict[str, str]:
    """Field name to default, from tables whose first two columns these are."""
    return {row[0].strip("`"): row[1].strip("`") for row in rows(markdown) if len(row) > 2}


# --- reading the code ---


def shown(value: Any) -> str:
    """A default as YAML has it."""
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


def fields(cls: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every field of a dataclass and of those in it, with its default."""
    hints = typing.get_type_hints(cls)
    for each in dataclasses.fields(cls):
        inner, suffix = _inner(hints[each.name])
        if inner is None:
            factory = each.default_factory
            default = each.default if factory is dataclasses.MISSING else factory()
            yield prefix + each.name, shown(default)
        else:
            yield from fields(inner, f"{prefix}{each.name}{suffix}.")


def _inner(hint: Any) -> tuple[Any, str]:
    """The dataclass in a type, and how a path goes on to it."""
    if dataclasses.is_dataclass(hint):
        return hint, ""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType) or not arguments:
        return None, ""
    if origin is tuple and dataclasses.is_dataclass(arguments[0]):
        return arguments[0], "[]"
    if len(arguments) == 2 and dataclasses.is_dataclass(arguments[1]):
        return arguments[1], ".*"
    return None, ""


def has_name(dotted: str) -> bool:
    """Whether a module of ours, or a class or function (or a class's) in one, has this name."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        module = path.with_suffix(".py")
        if module.is_file():
            return _defines(ast.parse(module.read_text("utf-8")).body, parts[length:])
        if path.is_dir():
            return length == len(parts)
    return False


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    if not names:
        return True
    for each in body:
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(each, kinds) and each.name == names[0]:
            return _defines(each.body, names[1:])
    return False


def test_every_field_and_flag_of_an_event_is_told() -> None:
    told = section("docs/analytics.md", "Events, field by field")

    names = {name for row in rows(told) for name in re.findall(r"`(\w+)`", row[0])}
    assert names == {each.name for each in msgspec.structs.fields(InferenceEvent)}
    bits = {row[0].replace(" ", "_").upper(): row[1] for row in rows(told) if row[1:2] != []}
    assert {name: bits.get(name) for name in Flag.__members__} == {
        flag.name: str(flag.value) for flag in Flag
    }


def commands() -> Mapping[str, argparse.ArgumentParser]:
    parser = _parser({})
    (chosen,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return chosen.choices


def anchors(path: Path) -> set[str]:
    """What a link may go to in a document, as GitHub names headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


# --- what must hold ---


@pytest.mark.parametrize(("cls", "heading"), [(Model, "A model"), (Finetune, "A finetune")])
def test_every_field_of_the_catalog_is_told_with_its_default(cls: Any, heading: str) -> None:
    assert defaults(section("docs/catalog.md", heading)).items() >= dict(fields(cls)).items()


@pytest.mark.parametrize(("cls", "heading"), [(Model, "A model"), (Finetune, "A finetune")])
def test_no_field_of_the_catalog_is_told_that_is_not_there(cls: Any, heading: str) -> None:
    told = defaults(section("docs/catalog.md", heading)).keys()

    assert told - dict(fields(cls)).keys() <= {"field", "---"}


def test_the_tables_of_settings_are_made_of_the_services_settings() -> None:
    told = text("docs/settings.md")

    assert told == with_table(told, settings_table.tables()), "run `make docs`"


@pytest.mark.parametrize("service", CLASSES)
def test_every_setting_has_a_meaning_of_its_own(service: str) -> None:
    told = list(settings_table.settings(service, CLASSES[service]))

    assert [each.name for each in told if not each.meaning] == []
    assert {each.name for each in told} == dict(fields(CLASSES[service])).keys()
    assert len({each.meaning for each in told}) == len(told)


def test_every_field_of_a_colo_is_told_with_its_default() -> None:
    assert defaults(section("docs/settings.md", "colos")).items() >= dict(fields(Colo)).items()


def test_every_option_of_the_command_line_is_told() -> None:
    told = section("docs/settings.md", "Command line")

    for name, command in commands().items():
        assert f"`{name}`" in told
        for action in command._actions:
            for flag in action.option_strings:
                assert f"`{flag}`" in told or flag in ("-h", "--help"), f"{name} {flag}"


def test_the_table_of_errors_is_that_of_their_classes() -> None:
    told = text("docs/errors.md")

    assert told == with_table(told, error_table.table()), "run `make docs`"


def test_every_error_has_a_reason_and_a_meaning_of_its_own() -> None:
    told = [row for row in rows(text("docs/errors.md")) if row[0].isdigit()]

    assert len(told) == len(BY_REASON)
    assert len({row[2] for row in told}) == len({row[4] for row in told}) == len(told)
    own = [cls.code for cls in BY_REASON.values() if "code" in vars(cls)]
    assert len(set(own)) == len(own)
    assert all(
        cls.http in (408, 409) or cls.should_retry is not False or cls is NeuronsUsedUp
        for cls in BY_REASON.values()
    )


def test_every_refusal_of_what_is_no_request_is_told() -> None:
    code = "".join(each.read_text("utf-8") for each in (ROOT / "libs/http1").glob("*.py"))
    told = {row[0]: row[1] for row in rows(section("docs/api.md", "Limits")) if row[0].isdigit()}

    statuses = set(re.findall(r"Refusal\((\d{3}),", code)) - {"500"}
    assert len(statuses) >= 8
    assert told == {each: str(MEANINGS.get(int(each), BadHttp).code) for each in statuses}


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_told(route: str) -> None:
    assert f"`{route}`" in text("docs/api.md")


@pytest.mark.parametrize("task", TASKS)
def test_every_field_of_a_task_is_told(task: str) -> None:
    told = {row[0] for row in rows(section("docs/api.md", task))}

    assert {f"`{name}`" for name in TASKS[task].schema["properties"]} <= told


def test_every_option_of_a_call_is_told() -> None:
    told = {row[0] for row in rows(section("docs/api.md", "Options"))}

    assert {f"`{name}`" for name in OPTIONS["properties"]} <= told


def test_the_tables_of_metrics_are_made_of_what_shows_them() -> None:
    told = text("docs/metrics.md")

    assert told == with_table(told, metric_table.tables()), "run `make docs`"


def test_every_metric_that_a_document_names_is_there() -> None:
    told = [each for found in metric_table.all_metrics().values() for each in found]
    known = {name for each in told for name in (each.name, *each.series)}

    now = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
    named = {name for path in now for name in METRIC.findall(path.read_text("utf-8"))}
    assert len(named) > 60
    assert named - known == set()


def test_every_demo_model_and_finetune_is_told() -> None:
    catalog = load_catalog(ROOT / "config", root=ROOT)

    for name in (*(m.name for m in catalog.models), *(f.id for f in catalog.finetunes)):
        assert f"`{name}`" in text("docs/models.md")


def test_every_variable_that_lengthens_a_test_is_one() -> None:
    told = set(re.findall(r"\w+_FUZZ_SECONDS", text("CONTRIBUTING.md")))

    tests = list((ROOT / "tests").rglob("test_fuzz.py"))
    read = {name for each in tests for name in FUZZ.findall(each.read_text("utf-8"))}
    assert told == read
    assert len(read) == len(tests)


def test_every_make_target_is_told() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", text("Makefile"), re.M)

    assert [each for each in targets if f"`make {each}`" not in text("CONTRIBUTING.md")] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_name_in_a_document_is_in_the_code(path: Path) -> None:
    name = str(path.relative_to(ROOT))

    assert [each for each in NAME.findall(text(name)) if not has_name(each)] == []
    assert [each for each in FILE.findall(text(name)) if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_in_a_document_is_there(path: Path) -> None:
    named = TEST.findall(path.read_text("utf-8"))

    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in text(file)]
    assert missing == []


def test_the_walks_are_told_with_names() -> None:
    for walk, least in (("Unary", 22), ("Stream", 10), ("Scaling", 14), ("Event", 12)):
        assert len(NAME.findall(section("ARCHITECTURE.md", walk))) >= least


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(prose(str(path.relative_to(ROOT)))):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = path.parent / target if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_a_name_that_is_not_there_is_found() -> None:
    assert has_name("services.server.turnstile.Turnstile.try_lease")
    assert has_name("libs.common.world")
    assert not has_name("services.server.turnstile.Turnstile.no_such")
    assert not has_name("services.server.no_such")
