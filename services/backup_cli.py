"""`constellation backup` and `restore`: a deployment's state as one file, and back."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.arguments import Add, read_folder

if TYPE_CHECKING:
    from services.backup.manifest import Manifest

LABELS: Mapping[str, str] = {
    "control.db": "accounts, tokens, finetunes",
    "assets": "files of finetunes",
    "scheduler.db": "decisions, demand",
    "events.duckdb": "events, usage",
    "spool": "events not stored yet",
    "token": "the default account's token",
    "keys": "bearer keys of servers",
    "config": "settings, catalog",
}


def add_commands(commands: Any, add: Add) -> None:
    """Add both commands; `add` makes one with the flags that all have."""
    backup = add(commands, "backup", "the state of a deployment as one file", _backup)
    backup.add_argument("--to", type=read_folder, required=True, metavar="FILE", help="a new file")
    restore = add(commands, "restore", "a backup into an empty state folder", _restore)
    restore.add_argument("file", type=read_folder, metavar="FILE", help="what backup has made")


async def _backup(arguments: argparse.Namespace) -> None:
    from libs.common.config import load_config
    from services.analytics.config import Config as AnalyticsConfig
    from services.backup.archive import write
    from services.backup.collecting import Collecting
    from services.backup.sources import sources

    state: Path = arguments.state_dir
    to: Path = arguments.to
    _refuse(state, to)
    config = load_config(arguments.config, os.environ)
    settings = config.settings("analytics", AnalyticsConfig, state_dir=state)
    found = sources(config, state_dir=state, config_dir=arguments.config)
    with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as name:
        folder = Path(name) / "parts"
        collecting = Collecting(found, folder, copy_s=settings.copy_seconds)
        await collecting.run()
        manifest = write(folder, to, left_out=(*found.elsewhere, *collecting.missing))
    took = time.monotonic() - arguments.began
    sys.stdout.write(f"backed up {state} to {to}: {_size_of(to)} in {took:.1f} s\n")
    _tell(manifest)


def _refuse(state: Path, to: Path) -> None:
    from services.backup.manifest import CannotBackUp

    if to.exists():
        raise CannotBackUp(f"{to} is there already: give --to a new file")
    if not to.parent.is_dir():
        raise CannotBackUp(f"there is no folder {to.parent}: give --to a file in one that there is")
    if not state.is_dir():
        raise CannotBackUp(f"there is no state folder {state}: give --state-dir")


async def _restore(arguments: argparse.Namespace) -> None:
    from services.backup.restoring import restore

    state: Path = arguments.state_dir
    manifest, config = restore(arguments.file, state_dir=state, config_dir=arguments.config)
    made = f"{manifest.created}, by version {manifest.version}"
    sys.stdout.write(f"restored {state} as it was at {made}\n")
    _tell(manifest)
    if config != arguments.config:
        sys.stderr.write(
            f"constellation: {arguments.config} is another configuration and stays as it is; "
            f"that of the backup is in {config}\n"
        )


def _tell(manifest: Manifest) -> None:
    """Print what is in it, and on the error stream what is not."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for part in manifest.parts:
        top, first = part.name.split("/")[:2]
        name = top if top == "config" else first
        counts[name] += 1
        sizes[name] += part.size
    for name, label in LABELS.items():
        if name in counts:
            files = "1 file" if counts[name] == 1 else f"{counts[name]} files"
            size = _shown(sizes[name])
            sys.stdout.write(f"  {name:<13}  {files:<9}  {size:>9}  {label}\n")
    for each in manifest.left_out:
        sys.stderr.write(f"constellation: not in it: {each}\n")


def _size_of(path: Path) -> str:
    return _shown(path.stat().st_size)


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
