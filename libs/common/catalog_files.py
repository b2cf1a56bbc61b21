"""Reads the catalog: `models/*.yaml` and `finetunes/*.yaml` of a configuration folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from libs.common import fallbacks, narrowing, wire
from libs.common.addresses import base_url, host_port
from libs.common.catalog import (
    ADAPTER_FILES,
    DIALECTS,
    FOLDER_NAME,
    Backend,
    Finetune,
    Listing,
    Model,
    Probe,
    Scaling,
    Schedule,
)
from libs.common.catalog_places import find_places, shown
from libs.common.cron import read_cron, read_zone
from libs.common.deprecation import PROPERTY, unix_ms
from libs.common.messages import flaw
from libs.common.named_files import file_flaw, unreadable
from libs.common.staged_files import Staged, read_staged
from libs.common.world_map import Colo
from libs.common.yaml_files import Document, Problem, Problems, parse, read

T = TypeVar("T")
SERVED: Final = ("triton", "openai_http")  # kinds of backends that servers can speak to yet
OPENAI_TASKS: Final = ("text-generation", "text-embeddings")  # for which OpenAI's API has words
NO_FOLDER_NAME: Final = "is to name a folder: letters, digits, and then . _ - alone"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models and finetunes of a configuration folder, and what is other in a colo."""

    models: tuple[Model, ...] = ()
    finetunes: tuple[Finetune, ...] = ()
    staged: tuple[Staged, ...] = ()


def load_catalog(
    folder: Path,
    *,
    root: Path,
    colos: Collection[Colo] | None = None,
    expected: Collection[str] = (),
) -> Catalog:
    """Read the catalog in `folder`; the paths in it are relative to `root`.

    `colos` are those that there are, None where that is not known; `expected` are the folders that
    there must be, if only empty.
    Problems: every mistake in any of the files; what nobody has foreseen is one, too, for no edit
    may end who reads it.
    """
    try:
        return _load(folder, root, colos, expected)
    except Problems:
        raise
    except Exception as error:
        log.exception("the catalog in %s cannot be read: this is a bug", folder)
        raise Problems([Problem(file=folder.name, text=f"cannot be read: {error!r}")]) from error


def _load(
    folder: Path, root: Path, colos: Collection[Colo] | None, expected: Collection[str]
) -> Catalog:
    places = find_places(folder, expected=expected)
    problems = list(places.problems)
    regions = None if colos is None else {colo.region for colo in colos}
    models = _read_all(folder, places.models, Model, problems)
    finetunes = _read_all(folder, places.finetunes, Finetune, problems)
    all_read = not problems  # else a finetune's model may be in a file that could not be read
    named = {name: model for _, model in models for name in (model.name, *model.aliases)}
    problems += _twice(models, lambda model: (model.name, *model.aliases))
    problems += _twice(finetunes, lambda finetune: (finetune.id,))
    problems += _one_folder(models)

    def check(document: Document, model: Model) -> Iterator[Problem]:
        yield from _check_model(document, model, root)
        for why in fallbacks.flaws(model, named.get):
            yield document.problem(("fallbacks",), why)

    for document, model in models:
        problems += check(document, model)
        problems += _check_scaling(document, model.scaling, regions)
    for document, finetune in finetunes if all_read else ():
        problems += _check_finetune(document, finetune, [m for _, m in models], root)
    staged, flaws = read_staged(
        {path: shown(folder, path) for path in places.staged},
        {model.name: model for _, model in models} if all_read else None,
        colos=None if colos is None else {colo.name for colo in colos},
        check=check,
    )
    if problems or flaws:
        raise Problems([*problems, *flaws])
    return Catalog(tuple(m for _, m in models), tuple(f for _, f in finetunes), staged)


def _read_all(
    folder: Path, paths: Sequence[Path], cls: type[T], problems: list[Problem]
) -> list[tuple[Document, T]]:
    found = []
    for path in paths:
        try:
            document = read(path, shown_as=shown(folder, path))
            found.append((document, parse(document, cls)))
        except Problems as error:
            problems += error.problems
    return found


def _twice(
    entries: list[tuple[Document, T]], names: Callable[[T], tuple[str, ...]]
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for document, entry in entries:
        for name in names(entry):
            if name in seen:
                yield document.problem(("name",), f"{name!r} is also in {seen[name]}")
            seen.setdefault(name, document.file)


def _one_folder(entries: list[tuple[Document, Model]]) -> Iterator[Problem]:
    """Find models of one name inside Triton: they would be one instance on a node."""
    seen: dict[str, str] = {}
    for document, model in entries:
        if model.backend.external:
            continue
        if model.served_as in seen:
            text = f"{model.served_as!r} is what {seen[model.served_as]} is served as, too"
            yield document.problem(("backend", "served_as"), f"{text}: give another `served_as`")
        seen.setdefault(model.served_as, model.name)


def _check_model(document: Document, model: Model, root: Path) -> Iterator[Problem]:
    for name in (model.name, *model.aliases):
        if not name.isprintable() or not name.strip("@/ ") or " " in name:
            yield document.problem(("name",), f"expected a name without spaces, got {name!r}")
    if model.backend.kind == "openai_http" and model.task not in OPENAI_TASKS:
        yield document.problem(("task",), f"kind openai_http serves {', '.join(OPENAI_TASKS)}")
    yield from _check_listing(document, model.listing)
    if model.backend.kind == "triton" and not FOLDER_NAME.fullmatch(model.served_as):
        yield document.problem(("backend", "served_as"), f"{model.served_as!r} {NO_FOLDER_NAME}")
    found = list(narrowing.flaws(model.schema))
    yield from (document.problem(("schema", *where), why) for where, why in found)
    if not found and (why := flaw(model)):
        yield document.problem((), f"it cannot be handed out: {why}")
    yield from _check_backend(document, model.backend, root)
    if why := _named_otherwise(model, root):
        yield document.problem(("backend", "repository"), why)


def _check_listing(document: Document, listing: Listing) -> Iterator[Problem]:
    if planned := listing.properties.get(PROPERTY):
        try:
            unix_ms(planned)
        except ValueError as error:
            yield document.problem(("listing", "properties", PROPERTY), str(error))


def _check_scaling(
    document: Document, scaling: Scaling, regions: Collection[str] | None
) -> Iterator[Problem]:
    if scaling.min > scaling.max:
        yield document.problem(("scaling", "min"), f"{scaling.min} is above max, {scaling.max}")
    for region, bounds in scaling.region.items():
        most = scaling.max if bounds.max is None else bounds.max
        if bounds.min is not None and bounds.min > most:
            where = ("scaling", "region", region, "min")
            yield document.problem(where, f"{bounds.min} is above max, {most}")
        if regions is not None and region not in regions:
            yield document.problem(("scaling", "region", region), _no_colo(regions))
    for index, schedule in enumerate(scaling.schedules):
        for name, why in _schedule_flaws(schedule, scaling, regions):
            yield document.problem(("scaling", "schedules", index, name), why)


def _no_colo(regions: Collection[str]) -> str:
    known = ", ".join(sorted(filter(None, regions))) or "none"
    return f"no colo is in this region; there are: {known}"


def _schedule_flaws(
    schedule: Schedule, scaling: Scaling, regions: Collection[str] | None
) -> Iterator[tuple[str, str]]:
    checks: tuple[tuple[str, Callable[[str], object]], ...]
    checks = (("cron", read_cron), ("timezone", read_zone))
    for name, check in checks:
        try:
            check(getattr(schedule, name))
        except ValueError as error:
            yield name, str(error)
    if schedule.region and regions is not None and schedule.region not in regions:
        yield "region", _no_colo(regions)
    bounds = [bounds.max for bounds in scaling.region.values() if bounds.max is not None]
    if schedule.min > (most := max((scaling.max, *bounds))):
        yield "min", f"{schedule.min} is above max, {most}"


def _check_backend(document: Document, backend: Backend, root: Path) -> Iterator[Problem]:
    if backend.kind not in SERVED:
        yield document.problem(("backend", "kind"), f"this version serves {', '.join(SERVED)} only")
    elif backend.dialect not in DIALECTS[backend.kind]:
        text = f"kind {backend.kind} speaks {', '.join(DIALECTS[backend.kind])}"
        yield document.problem(("backend", "dialect"), f"{text}, not {backend.dialect}")
    if backend.chat_template and (why := _template_flaw(root / backend.chat_template)):
        yield document.problem(("backend", "chat_template"), why)
    if backend.repository:
        settings = root / backend.repository / "config.pbtxt"
        if why := file_flaw(settings, missing="there is no config.pbtxt in it"):
            yield document.problem(("backend", "repository"), why)
    yield from _check_probe(document, backend.probe)
    if backend.key and not FOLDER_NAME.fullmatch(backend.key):
        text = f"{backend.key!r} is to name a file: letters, digits, and then . _ - alone"
        yield document.problem(("backend", "key"), text)
    yield from _check_addresses(document, backend)


def _named_otherwise(model: Model, root: Path) -> str:
    """Say where a folder names its model otherwise than it is served: no Triton would load it."""
    if model.backend.external or not model.backend.repository:
        return ""
    try:
        text = (root / model.backend.repository / "config.pbtxt").read_text("utf-8")
    except (OSError, ValueError):
        return ""
    plain = re.sub(r"#[^\n]*", "", text)
    head = re.split(r"[\[{]", plain, maxsplit=1)[0]  # a name of its own, not that of a tensor
    named = re.search(r"(?:^|\s)name\s*:\s*[\"']([^\"']+)", head)
    if named is None or named[1] == model.served_as:
        return ""
    return (
        f"its config.pbtxt names the model {named[1]}, and it is served as {model.served_as}: "
        f"set `served_as: {named[1]}`, or change the name there"
    )


def _check_addresses(document: Document, backend: Backend) -> Iterator[Problem]:
    is_http = backend.kind == "openai_http"
    if backend.command and (backend.repository or backend.external):
        text = "a `command` stands alone: give no `repository` and no `external` addresses"
        yield document.problem(("backend", "command"), text)
    elif is_http and (backend.repository or not (backend.external or backend.command)):
        text = "give `external` addresses or a `command`, and no `repository`: no Triton loads this"
        yield document.problem(("backend",), text)
    elif not (backend.repository or backend.external or backend.command):
        text = "give a `repository` to load, a `command` to run, or `external` addresses"
        yield document.problem(("backend",), text)
    if backend.command and not any("{port}" in part for part in backend.command):
        text = "nothing in it says {port}, which is where each instance is to listen"
        yield document.problem(("backend", "command"), text)
    if backend.ready_path and not backend.ready_path.startswith("/"):
        yield document.problem(("backend", "ready_path"), "expected a path that begins with /")
    for address in backend.external:
        try:
            (base_url if is_http else host_port)(address)
        except ValueError as error:
            yield document.problem(("backend", "external"), str(error))


def _check_probe(document: Document, probe: Probe) -> Iterator[Problem]:
    for index, each in enumerate(probe.inputs):
        try:
            wire.from_values(each.name, each.datatype, each.values, each.shape)
        except ValueError as error:
            yield document.problem(("backend", "probe", "inputs", index, "values"), str(error))


def _template_flaw(path: Path) -> str:
    """Return why a chat template is none, or nothing."""
    if why := file_flaw(path, missing="there is no such file"):
        return why
    try:
        ImmutableSandboxedEnvironment().from_string(path.read_text("utf-8"))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        return f"no Jinja template: {error.message}" + (f" (its line {line})" if line else "")
    except (OSError, ValueError) as error:
        return unreadable(error)
    except RecursionError:
        return "no Jinja template: nested too deeply"
    return ""


def _check_finetune(
    document: Document, finetune: Finetune, models: list[Model], root: Path
) -> Iterator[Problem]:
    if not FOLDER_NAME.fullmatch(finetune.id):
        yield document.problem(("id",), f"{finetune.id!r} {NO_FOLDER_NAME}")
    model = next((each for each in models if each.name == finetune.model), None)
    if model is None:
        yield document.problem(("model",), f"{finetune.model!r} is not in the catalog")
    elif not model.lora.enabled:
        yield document.problem(("model",), f"{finetune.model!r} takes no adapters (lora.enabled)")
    if finetune.assets:
        yield document.problem(("assets",), "is for what is uploaded: give `adapter` a folder")
    for name in ADAPTER_FILES:
        missing = f"there is no {name} in it"
        if why := file_flaw(root / finetune.adapter / name, missing=missing):
            yield document.problem(("adapter",), why)
    if why := flaw(finetune):
        yield document.problem((), f"it cannot be handed out: {why}")
