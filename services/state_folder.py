"""The state folder: made where it is missing, and locked against a second owner."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.common.addresses import LONGEST_UNIX_PATH

LONGEST_SOCKET_NAME = len("/control.sock")


class Occupied(Exception):
    """Another process has the folder, or it cannot be used."""


@contextmanager
def state_folder(path: Path, *, owner: str) -> Iterator[Path]:
    """Yield the folder's absolute path, locked for `owner` while inside; Occupied otherwise."""
    path = path.absolute()
    if len(os.fsencode(path)) + LONGEST_SOCKET_NAME > LONGEST_UNIX_PATH:
        raise Occupied(f"{path} is too long a path for Unix sockets: give a shorter --state-dir")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / f"{owner}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Occupied(f"cannot use the state folder {path}: {error.strerror}") from error
    try:
        _take(lock, path, owner)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        yield path
    finally:
        os.close(lock)


def _take(lock: int, path: Path, owner: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode(errors="replace") or "unknown"
        raise Occupied(
            f"{path} is in use by another `constellation {owner}` (pid {holder}): "
            "stop it, or give another --state-dir"
        ) from error
