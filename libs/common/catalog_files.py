"""Reads the catalog: `models/*.yaml` and `finetunes/*.yaml` of a configuration folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from libs.common.catalog import Backend, Finetune, Model
from libs.common.yaml_files import Document, Problem, Problems, parse, read

T = TypeVar("T")
SERVED = ("triton",)  # kinds of backends that servers can speak to yet
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models and finetunes of a configuration folder."""

    models: tuple[Model, ...] = ()
    finetunes: tuple[Finetune, ...] = ()


def load_catalog(folder: Path, *, root: Path) -> Catalog:
    """Read the catalog in `folder`; the paths in it are relative to `root`.

    Problems: every mistake in any of the files.
    """
    problems: list[Problem] = []
    models = _read_all(folder / "models", Model, problems)
    finetunes = _read_all(folder / "finetunes", Finetune, problems)
    all_read = not problems  # else a finetune's model may be in a file that could not be read
    names = {name for _, model in models for name in (model.name, *model.aliases)}
    problems += _twice(models, lambda model: (model.name, *model.aliases))
    problems += _twice(finetunes, lambda finetune: (finetune.id,))
    for document, model in models:
        problems += _check_model(document, model, names, root)
    for document, finetune in finetunes if all_read else ():
        problems += _check_finetune(document, finetune, [m for _, m in models], root)
    if problems:
        raise Problems(problems)
    return Catalog(tuple(m for _, m in models), tuple(f for _, f in finetunes))


def _read_all(folder: Path, cls: type[T], problems: list[Problem]) -> list[tuple[Document, T]]:
    found = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            document = read(path, shown_as=f"{folder.parent.name}/{folder.name}/{path.name}")
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


def _check_model(
    document: Document, model: Model, names: set[str], root: Path
) -> Iterator[Problem]:
    scaling = model.scaling
    for fallback in set(model.fallbacks) - names:
        yield document.problem(("fallbacks",), f"{fallback!r} is not in the catalog")
    if scaling.min > scaling.max:
        yield document.problem(("scaling", "min"), f"{scaling.min} is above max, {scaling.max}")
    yield from _check_backend(document, model.backend, root)


def _check_backend(document: Document, backend: Backend, root: Path) -> Iterator[Problem]:
    if backend.kind not in SERVED:
        yield document.problem(("backend", "kind"), f"this version serves {', '.join(SERVED)} only")
    if backend.chat_template and not (root / backend.chat_template).is_file():
        yield document.problem(("backend", "chat_template"), "there is no such file")
    if backend.repository and not (root / backend.repository / "config.pbtxt").is_file():
        yield document.problem(("backend", "repository"), "there is no config.pbtxt in it")
    if not backend.repository and not backend.external:
        yield document.problem(("backend",), "give a `repository` to load, or `external` addresses")
    for address in backend.external:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            yield document.problem(("backend", "external"), f"expected host:port, got {address!r}")


def _check_finetune(
    document: Document, finetune: Finetune, models: list[Model], root: Path
) -> Iterator[Problem]:
    model = next((each for each in models if each.name == finetune.model), None)
    if model is None:
        yield document.problem(("model",), f"{finetune.model!r} is not in the catalog")
    elif not model.lora.enabled:
        yield document.problem(("model",), f"{finetune.model!r} takes no adapters (lora.enabled)")
    for name in ADAPTER_FILES:
        if not (root / finetune.adapter / name).is_file():
            yield document.problem(("adapter",), f"there is no {name} in it")
