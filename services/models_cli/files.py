"""The catalog's files, as commands write and remove them: never leaving a catalog with mistakes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from libs.common.catalog import Model
from libs.common.catalog_files import Catalog, load_catalog
from libs.common.catalog_places import find_places
from libs.common.yaml_files import Problems, parse, read


class Files:
    """The models of one configuration folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models = folder / "models"

    def __repr__(self) -> str:
        return f"<Files {self._folder}>"

    def load(self) -> Catalog:
        """Read the whole catalog; raises Problems."""
        return load_catalog(self._folder, root=self._folder.parent)

    def find(self, name: str) -> tuple[Path, Model] | None:
        """Return a model's file and what is in it, by its name or an alias."""
        for path in sorted(self._models.glob("*.yaml")):
            try:
                model = parse(read(path, shown_as=path.name), Model)
            except Problems:
                continue
            if name in (model.name, *model.aliases):
                return path, model
        return None

    def place(self, content: Mapping[str, Any]) -> Path:
        """Return where a model's file is to be; raises Problems where that is no catalog then."""
        slug = _slug(str(content["name"]))
        path, number = self._models / f"{slug}.yaml", 2
        while path.exists():
            path, number = self._models / f"{slug}-{number}.yaml", number + 1
        with self._copy() as copy:
            (copy / "models" / path.name).write_text(_yaml(content), "utf-8")
            load_catalog(copy, root=self._folder.parent)
        return path

    def write(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a model's file where `place` says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, _yaml(content))

    def remove(self, path: Path) -> None:
        """Remove a model's file; raises Problems, and keeps it, where others need the model.

        Others are those that fall back to it, finetunes of it, and what is staged of it.
        """
        with self._copy() as copy:
            (copy / "models" / path.name).unlink()
            load_catalog(copy, root=self._folder.parent)
        path.unlink()

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        """Make a copy to try changes on: a running control takes up at once what is in the folder.

        It has the folder's name, which mistakes are told with. Problems: of where files are.
        """
        places = find_places(self._folder)
        if places.problems:
            raise Problems(places.problems)
        with TemporaryDirectory(prefix="constellation-") as made:
            copy = Path(made) / self._folder.name
            (copy / "models").mkdir(parents=True)
            for path in places.files:
                to = copy / path.relative_to(self._folder)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)
            yield copy


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix("@cf/")).strip("-.") or "model"


def _write(path: Path, text: str) -> None:
    """Write a file so that who reads it meanwhile finds the old one or the whole new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)
