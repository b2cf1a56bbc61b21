"""The folder of an instance that runs in a container: its model by links, its adapters as files.

The container sees this folder and the model's own, and nothing else; so an adapter's files are put
here, by hard links where they can be, under a name that changes with them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from services.node.drivers import model_folder
from services.node.ports import InstanceSpec

FILES: Final = "adapters"
REPOSITORY: Final = "repository"


def place(folder: Path, spec: InstanceSpec) -> None:
    """Make the folder anew."""
    model_folder.remove(folder)
    model_folder.place(folder / REPOSITORY / spec.served_as, _with_files_of_its_own(folder, spec))


def place_adapters(folder: Path, spec: InstanceSpec) -> None:
    """Have the model see exactly these adapters; it may be running and reading."""
    own = _with_files_of_its_own(folder, spec)
    model_folder.place_adapters(folder / REPOSITORY / spec.served_as, own.adapters)
    used = {path.name for path in own.adapters.values()}
    for path in (folder / FILES).iterdir():
        if path.name not in used:
            model_folder.remove(path)


def _with_files_of_its_own(folder: Path, spec: InstanceSpec) -> InstanceSpec:
    files = folder / FILES
    files.mkdir(parents=True, exist_ok=True)
    return replace(spec, adapters=_put(files, spec.adapters))


def _put(files: Path, adapters: Mapping[str, Path]) -> dict[str, Path]:
    found = {}
    for name, source in adapters.items():
        target = files / _key(source)
        if not target.is_dir():
            unfinished = files / f".{target.name}"
            model_folder.remove(unfinished)
            shutil.copytree(source, unfinished, copy_function=_link_or_copy)
            unfinished.rename(target)
        found[name] = target
    return found


def _key(source: Path) -> str:
    """Return a name for the files as they are now."""
    parts = [str(source.absolute())]
    for path in sorted(source.rglob("*")):
        stat = path.stat()
        parts.append(f"{path.relative_to(source)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.blake2s("\n".join(parts).encode(), digest_size=8).hexdigest()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system
        shutil.copy2(source, target)
