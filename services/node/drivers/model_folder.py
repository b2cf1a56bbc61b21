"""A model's folder in the repository that a Triton loads from, made of links.

It links what the model's own folder holds, has an `adapters/` folder of its own, and once the model
is loaded a record of which instance this is and which processes it lives in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from services.node.drivers.json_files import write_json
from services.node.drivers.processes import Process
from services.node.ports import BootFailed, InstanceSpec

ADAPTERS = "adapters"
RECORD = "instance.json"


def place(folder: Path, spec: InstanceSpec) -> None:
    """Make the folder anew."""
    if not (spec.repository / "config.pbtxt").is_file():
        raise BootFailed(f"{spec.repository} holds no config.pbtxt")
    remove(folder)
    folder.mkdir(parents=True)
    for part in spec.repository.absolute().iterdir():
        if part.name not in (ADAPTERS, RECORD):
            (folder / part.name).symlink_to(part)
    place_adapters(folder, spec.adapters)


def place_adapters(folder: Path, adapters: Mapping[str, Path]) -> None:
    """Have `adapters/` hold exactly these links; the model may be running and reading."""
    links = folder / ADAPTERS
    links.mkdir(exist_ok=True)
    for name in adapters:
        if name.startswith(".") or "/" in name:
            raise BootFailed(f"{name!r} cannot be the name of an adapter")
    for link in links.iterdir():
        if link.name not in adapters:
            link.unlink()
    for name, target in adapters.items():
        link = links / name
        if not link.is_symlink() or link.readlink() != target.absolute():
            unfinished = links / f".{name}"
            unfinished.unlink(missing_ok=True)
            unfinished.symlink_to(target.absolute())
            unfinished.replace(link)  # never missing in between


def remove(folder: Path) -> None:
    """Remove the folder with its links; what they lead to stays."""
    shutil.rmtree(folder, ignore_errors=True)


def write_record(folder: Path, spec: InstanceSpec, processes: Sequence[Process]) -> None:
    """Note what has been loaded from the folder."""
    value = {
        "id": spec.id,
        "model": spec.model,
        "served_as": spec.served_as,
        "repository": str(spec.repository),
        "dedicated": spec.dedicated,
        "processes": [asdict(process) for process in processes],
    }
    write_json(folder / RECORD, value)


def read_record(folder: Path) -> tuple[InstanceSpec, tuple[Process, ...]] | None:
    """What was loaded from the folder, or None where nothing was."""
    try:
        value = json.loads((folder / RECORD).read_text())
        processes = tuple(Process(**process) for process in value.pop("processes"))
        links = (folder / ADAPTERS).iterdir()
        adapters = {link.name: link.readlink() for link in links if link.is_symlink()}
        value["repository"] = Path(value["repository"])
        return InstanceSpec(**value, adapters=adapters), processes
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
