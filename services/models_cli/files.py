"""The catalog's files, as commands write and remove them: never leaving a catalog with mistakes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from libs.common.catalog import Model
from libs.common.catalog_files import Catalog, load_catalog
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

    def add(self, content: Mapping[str, Any]) -> Path:
        """Write a model's file; raises Problems, and leaves none, where that is no catalog then."""
        path = self._models / f"{_slug(str(content['name']))}.yaml"
        number = 2
        while path.exists():
            path = path.with_name(f"{_slug(str(content['name']))}-{number}.yaml")
            number += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100)
        _write(path, text)
        try:
            self.load()
        except Problems:
            path.unlink()
            raise
        return path

    def remove(self, path: Path) -> None:
        """Remove a model's file; raises Problems, and keeps it, where others need the model."""
        text = path.read_text("utf-8")
        path.unlink()
        try:
            self.load()
        except Problems:
            _write(path, text)
            raise


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix("@cf/")).strip("-.") or "model"


def _write(path: Path, text: str) -> None:
    """Write a file so that who reads it meanwhile finds the old one or the whole new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)
