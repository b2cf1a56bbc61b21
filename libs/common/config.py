"""Settings: a frozen dataclass per service, from `constellation.yaml` and the environment.

`CONSTELLATION_<SERVICE>_<FIELD>` overrides the field of that name in the file, and the
command line overrides both. With `_FILE` after it, the variable names a file that has the value:
so a secret is in no environment. OpenTelemetry's own variables count where none of them says
anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from libs.common.hop_settings import for_all
from libs.common.otlp_settings import standard
from libs.common.world_map import Colo
from libs.common.yaml_files import Document, Problem, Problems, parse, read, unknown

T = TypeVar("T")
SERVICES = ("entry", "server", "node", "control", "scheduler", "analytics")
FILE = "constellation.yaml"
IN_FILE = "_file"  # ends a variable that names a file with the value


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The settings' file, and the environment over it."""

    document: Document
    env: Mapping[str, str]
    colos: tuple[Colo, ...]

    def settings(
        self, service: str, cls: type[T], defaults: Mapping[str, Any] | None = None, **fixed: Any
    ) -> T:
        """Return the settings of one service.

        `fixed` are those that the program or its command line gives (None: it does not),
        `defaults` those that stand where nobody says otherwise.
        Problems: every bad value, of the file and of the environment.
        """
        stands = self.document.content.get(service)
        section = {**(defaults or {}), **(stands if isinstance(stands, Mapping) else {})}
        fixed = {name: value for name, value in fixed.items() if value is not None}
        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        said = {  # by the environment: the variable, and its value
            name: told
            for name, told in (standard(self.env) | for_all(self.env)).items()
            if name in names and name not in section
        } | _said(self.env, service, names)
        given = {name: value for name, (_, value) in said.items()}
        try:
            return parse(self.document, cls, section | given | fixed, (service,))
        except Problems as error:
            variables = {name: variable for name, (variable, _) in said.items()}
            raise Problems(_named(each, service, variables) for each in error.problems) from None


def _said(env: Mapping[str, str], service: str, names: Set[str]) -> dict[str, tuple[str, str]]:
    """Return what variables say of a service's settings: the variable, and the value."""
    said = {}
    for name in names:
        variable = f"CONSTELLATION_{service}_{name}".upper()
        if variable in env:
            said[name] = (variable, env[variable])
        elif f"{name}{IN_FILE}" not in names and (path := env.get(f"{variable}{IN_FILE.upper()}")):
            said[name] = (variable + IN_FILE.upper(), _content(path, variable + IN_FILE.upper()))
    return said


def _content(path: str, variable: str) -> str:
    """Return what a file says, without the end of its line. Problems: it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise Problems([Problem(file=variable, text=f"{path}: {why}")]) from error


def _named(problem: Problem, service: str, variables: Mapping[str, str]) -> Problem:
    """Say the variable's name where a bad value came from the environment."""
    variable = variables.get(problem.field.removeprefix(f"{service}."))
    return problem if variable is None else Problem(file=variable, text=problem.text)


def load_config(folder: Path, env: Mapping[str, str]) -> ConfigFile:
    """Read `constellation.yaml`. Problems: all that does not stand in it."""
    config, problems = read_config(folder, env)
    if problems:
        raise Problems(problems)
    return config


def read_config(folder: Path, env: Mapping[str, str]) -> tuple[ConfigFile, list[Problem]]:
    """Read `constellation.yaml`; return what could be read of it, and all that does not stand.

    Problems: it cannot be read at all.
    """
    document = read(folder / FILE, shown_as=f"{folder.name}/{FILE}")
    content = document.content
    if not isinstance(content, Mapping):
        raise Problems([document.problem((), f"expected sections: colos, {', '.join(SERVICES)}")])
    problems = list(_bad_sections(document))
    colos: list[Colo] = []
    given = content.get("colos") or []
    for index, entry in enumerate(given if isinstance(given, list) else []):
        try:
            colos.append(parse(document, Colo, entry or {}, ("colos", index)))
        except Problems as error:
            problems += error.problems
    if not problems:
        problems += _repeated(document, colos)
    return ConfigFile(document, env, tuple(colos)), problems


def unknown_variables(env: Mapping[str, str], settings: Mapping[str, type[Any]]) -> list[Problem]:
    """Return the variables that begin like those of a service, and name no setting of it."""
    found = []
    for service, cls in settings.items():
        prefix = f"CONSTELLATION_{service}_".upper()
        names = [field.name for field in dataclasses.fields(cls)]
        for variable in sorted(env):
            name = variable.removeprefix(prefix).lower()
            if variable.startswith(prefix) and not {name, name.removesuffix(IN_FILE)} & {*names}:
                found.append(Problem(file=variable, text=unknown(name, names, f"of {service}")))
    return found


def _bad_sections(document: Document) -> Iterator[Problem]:
    """What is no section, or not of the form that it must have."""
    for key, section in document.content.items():
        if key == "colos":
            if section is not None and not isinstance(section, list):
                yield document.problem((key,), "expected a list of colos")
        elif key not in SERVICES:
            yield document.problem((key,), unknown(str(key), ("colos", *SERVICES), "here"))
        elif section is not None and not isinstance(section, Mapping):
            yield document.problem((key,), "expected settings with values")


def _repeated(document: Document, colos: Sequence[Colo]) -> Iterator[Problem]:
    """A name that two colos, or two nodes, would have."""
    names: set[str] = set()
    nodes: dict[str, str] = {}
    for index, colo in enumerate(colos):
        if colo.name in names:
            yield document.problem(("colos", index, "name"), f"there is another {colo.name!r}")
            continue
        names.add(colo.name)
        for node in node_names(colo):
            if node in nodes:
                text = f"there is a node {node!r} in {nodes[node]} already"
                yield document.problem(("colos", index, "nodes"), text)
            nodes[node] = colo.name


def node_names(colo: Colo) -> tuple[str, ...]:
    """Return the names of the nodes that `up` runs in a colo."""
    return colo.nodes or (f"{colo.name}-node",)
