"""`constellation backup` and `restore`: a deployment's state as one file, and back."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from services.arguments import Add, read_folder

if TYPE_CHECKING:
    from services.backup.manifest import Manifest

STREAM: Final = Path("-")
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
    about = "a new file, or - for standard output"
    backup.add_argument("--to", type=_file, required=True, metavar="FILE", help=about)
    restore = add(commands, "restore", "a backup into an empty state folder", _restore)
    about = "what backup has made, or - for standard input"
    restore.add_argument("file", type=_file, metavar="FILE", help=about)


def _file(text: str) -> Path:
    return STREAM if text == str(STREAM) else read_folder(text)


async def _backup(arguments: argparse.Namespace) -> None:
    from libs.common.config import load_config
    from services.analytics.config import Config as AnalyticsConfig
    from services.backup.archive import write
    from services.backup.collecting import Collecting
    from services.backup.sources import sources

    state: Path = arguments.state_dir
    to: Path = arguments.to
    is_stream = to == STREAM
    _refuse(state, to)
    config = load_config(arguments.config, os.environ)
    settings = config.settings("analytics", AnalyticsConfig, state_dir=state)
    found = sources(config, state_dir=state, config_dir=arguments.config)
    beside = state if is_stream else to.parent
    with tempfile.TemporaryDirectory(prefix=".backup.", dir=beside) as name:
        folder = Path(name) / "parts"
        file = Path(name) / "backup.tar.gz" if is_stream else to
        collecting = Collecting(found, folder, copy_s=settings.copy_seconds)
        await collecting.run()
        manifest = write(folder, file, left_out=(*found.elsewhere, *collecting.missing))
        took, size = time.monotonic() - arguments.began, _size_of(file)
        if is_stream:
            _send(file)
    out = sys.stderr if is_stream else sys.stdout
    where = "standard output" if is_stream else to
    out.write(f"backed up {state} to {where}: {size} in {took:.1f} s\n")
    _tell(manifest, out)


def _send(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _refuse(state: Path, to: Path) -> None:
    from services.backup.manifest import CannotBackUp

    if to == STREAM:
        if sys.stdout.isatty():
            raise CannotBackUp("--to -: standard output is a terminal: send it into a file")
    elif to.exists():
        raise CannotBackUp(f"{to} is there already: give --to a new file")
    elif not to.parent.is_dir():
        raise CannotBackUp(f"there is no folder {to.parent}: give --to a file in one that there is")
    if not state.is_dir():
        raise CannotBackUp(f"there is no state folder {state}: give --state-dir")


async def _restore(arguments: argparse.Namespace) -> None:
    from services.backup.restoring import restore

    state: Path = arguments.state_dir
    manifest, config = restore(
        arguments.file, state_dir=state, config_dir=arguments.config, env=os.environ
    )
    made = f"{manifest.created}, by version {manifest.version}"
    sys.stdout.write(f"restored {state} as it was at {made}\n")
    _tell(manifest, sys.stdout)
    if config != arguments.config:
        sys.stderr.write(
            f"constellation: {arguments.config} is another configuration and stays as it is; "
            f"that of the backup is in {config}\n"
        )


def _tell(manifest: Manifest, out: TextIO) -> None:
    """Write what is in it, and on the error stream what is not."""
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
            out.write(f"  {name:<13}  {files:<9}  {size:>9}  {label}\n")
    for each in manifest.left_out:
        sys.stderr.write(f"constellation: not in it: {each}\n")


def _size_of(path: Path) -> str:
    return _shown(path.stat().st_size)


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
