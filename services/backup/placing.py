"""Where restored parts go that the settings keep outside of the state folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from libs.common.config import ConfigFile, read_config
from libs.common.incoming import sync_folder
from libs.common.yaml_files import Document, Problems
from services.backup.manifest import CannotBackUp, Manifest
from services.backup.sources import sources

Places: TypeAlias = Mapping[str, Path]  # by their names in the state folder


def places(config_dir: Path, beside: Path, env: Mapping[str, str], *, state_dir: Path) -> Places:
    """Return what is kept elsewhere, as the configuration there is says, or else that `beside`.

    Problems, CannotBackUp: a setting of these has a mistake.
    """
    found = sources(_config(config_dir, beside, env), state_dir=state_dir, config_dir=config_dir)
    told = {"assets": found.assets, "control.db": found.control, "scheduler.db": found.scheduler}
    return {
        name: path for name, path in told.items() if path is not None and path != state_dir / name
    }


def _config(config_dir: Path, beside: Path, env: Mapping[str, str]) -> ConfigFile:
    for folder in (config_dir, beside):
        try:
            config, _ = read_config(folder, env)
        except Problems:
            continue
        return config
    return ConfigFile(Document(str(config_dir), {}, {(): 1}), env, ())


def refuse_what_is_there(manifest: Manifest, to: Places) -> None:
    """Refuse to replace a store, or to begin without room on its disk. CannotBackUp."""
    for name, path in to.items():
        parts = [part for part in manifest.parts if part.name.split("/")[1] == name]
        if parts and path.is_file():
            raise CannotBackUp(f"{path} is there already, for {name}: move it away")
        size = sum(part.size for part in parts)
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
        if size > (free := shutil.disk_usage(there).free):
            raise CannotBackUp(f"there is no room in {path}: {size} bytes needed, {free} free")


def bring(state: Path, to: Places) -> None:
    """Move parts out of `state` to their places: all of them, or none. CannotBackUp."""
    made: list[Path] = []
    try:
        for name, path in to.items():
            for file, target in _files(state / name, path):
                _bring(file, target)
                made.append(target)
    except BaseException as error:
        for each in made:
            each.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CannotBackUp(f"{target} cannot be written: {error.strerror}") from error
        raise
    for name in to:
        shutil.rmtree(state / name, ignore_errors=True)
        (state / name).unlink(missing_ok=True)


def _files(part: Path, to: Path) -> list[tuple[Path, Path]]:
    """Return each file with its place; those of finetunes that are there are the same."""
    if part.is_dir():
        pairs = [(file, to / file.name) for file in sorted(part.iterdir())]
        return [(file, target) for file, target in pairs if not target.exists()]
    return [(part, to)] if part.exists() else []


def _bring(file: Path, to: Path) -> None:
    """Copy to what may be another disk; the name appears with all of it."""
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.partial")
    try:
        shutil.copyfile(file, partial)
        partial.chmod(0o600)
        with partial.open("rb") as copied:
            os.fsync(copied.fileno())
        partial.replace(to)
        sync_folder(to.parent)
    finally:
        partial.unlink(missing_ok=True)
