"""Models that are other in one colo: `staged/<colo>/*.yaml` of a configuration folder.

A change is tried in one colo before it is everywhere: what stands in such a file is what entries,
servers and nodes of that colo have in the place of the catalog's model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libs.common.catalog import Model
from libs.common.yaml_files import Document, Problem, Problems, parse, read

SAME: Final[Mapping[str, str]] = {  # what no colo has for itself, and why
    "task": "clients of one model send the same fields everywhere",
    "shards": "how many there are says the same to every entry",
    "scaling": "instances are counted by region, not by colo",
    "resources": "the scheduler places instances in all colos by the same needs",
    "backend.kind": "calls pass from colo to colo, and are written for one kind",
    "backend.dialect": "calls pass from colo to colo, and are written in one dialect",
    "backend.tensors": "calls pass from colo to colo, and name the same tensors",
    "backend.dedicated": "the scheduler places instances in all colos alike",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A model as one colo has it."""

    colo: str
    model: Model


def read_staged(
    paths: Mapping[Path, str],
    models: Mapping[str, Model] | None,
    *,
    colos: Collection[str] | None,
    check: Callable[[Document, Model], Iterator[Problem]],
) -> tuple[tuple[Staged, ...], list[Problem]]:
    """Return what is staged, and every mistake in it.

    `paths` are those of the files, and how each is told; `models` are those of the catalog by
    name, None where some could not be read; `check` finds what is wrong in a model by itself.
    """
    found: dict[tuple[str, str], Staged] = {}
    problems: list[Problem] = []
    for path, shown in paths.items():
        try:
            document = read(path, shown_as=shown)
            staged = Staged(colo=path.parent.name, model=parse(document, Model))
        except Problems as error:
            problems += error.problems
            continue
        problems += check(document, staged.model)
        problems += _place_flaws(document, staged.colo, colos)
        problems += _flaws(document, staged.model, models) if models is not None else ()
        key = staged.colo, staged.model.name
        if key in found:
            text = f"{staged.model.name!r} is staged in {staged.colo} by another file, too"
            problems.append(document.problem(("name",), text))
        found.setdefault(key, staged)
    return tuple(found.values()), problems


def _place_flaws(document: Document, colo: str, colos: Collection[str] | None) -> Iterator[Problem]:
    if colos is not None and colo not in colos:
        known = ", ".join(sorted(colos)) or "none"
        yield document.problem((), f"there is no colo {colo!r}; there are: {known}")


def _flaws(document: Document, model: Model, models: Mapping[str, Model]) -> Iterator[Problem]:
    base = models.get(model.name)
    if base is None:
        text = f"{model.name!r} is not in the catalog, which has it for the other colos"
        yield document.problem(("name",), text)
        return
    for field, why in SAME.items():
        if _at(model, field) != _at(base, field):
            text = f"must be that of the catalog's model: {why}"
            yield document.problem(tuple(field.split(".")), text)
    others = [each for each in models.values() if each.name != model.name]
    taken = {name: each.name for each in others for name in (each.name, *each.aliases)}
    for alias in model.aliases:
        if alias in taken:
            yield document.problem(("aliases",), f"{alias!r} is a name of {taken[alias]}")
    served = {each.served_as: each.name for each in others if not each.backend.external}
    if model.served_as in served and not model.backend.external:
        text = f"{model.served_as!r} is what {served[model.served_as]} is served as"
        yield document.problem(("backend", "served_as"), f"{text}: give another `served_as`")


def _at(model: Model, field: str) -> Any:
    value: Any = model
    for part in field.split("."):
        value = getattr(value, part)
    return value
