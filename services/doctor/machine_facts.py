"""Looks at this machine: who holds the state folder, what may be read, which ports are taken."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from libs.common.own_process import disk_of
from services.doctor.facts import Machine

LOCKS: Final = Path("/proc/locks")
PORTS: Final = {"CONSTELLATION_HTTP_PORT": "8080", "CONSTELLATION_GRPC_PORT": "8081"}
OTHERS: Final = 0o077


def look(state_dir: Path, config: Path, env: Mapping[str, str], *, runs: bool) -> Machine:
    """Return what is here; it changes and locks nothing.

    What a start would need is looked at where nothing `runs`.
    """
    holders, left = _holders(state_dir)
    size, free = disk_of(state_dir)
    runs = runs or bool(holders)
    mistakes = "" if runs else _mistakes(config, env)
    return Machine(
        state_dir=state_dir,
        holders=holders,
        left=left,
        loose=_loose(state_dir),
        disk_bytes=size,
        disk_free_bytes=free,
        taken_ports=() if runs else _taken(env),
        mistakes=mistakes,
        lacks_triton=not (runs or mistakes) and _lacks_triton(config, env),
    )


def _holders(state_dir: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return who holds the folder, and who has held it and is gone; pids by names.

    The kernel's list of locks is read: to try a lock could keep a process from starting.
    """
    held = _locked_inodes()
    holders: dict[str, int] = {}
    left: dict[str, int] = {}
    for path in sorted(state_dir.glob("*.lock")):
        try:
            pid, inode = int(path.read_text("ascii")), path.stat().st_ino
        except (OSError, ValueError):
            continue
        (holders if inode in held else left)[path.stem] = pid
    return holders, left


def _locked_inodes() -> set[int]:
    try:
        lines = LOCKS.read_text("ascii").splitlines()
    except OSError:  # not Linux
        return set()
    found = [line.split() for line in lines if " FLOCK " in line]
    return {int(part.rsplit(":", 1)[1]) for parts in found for part in parts if part.count(":") > 1}


def _loose(state_dir: Path) -> dict[Path, int]:
    """Return the modes of what only its owner should be able to read."""
    found = {}
    for path in (state_dir, state_dir / "token", *sorted((state_dir / "keys").glob("*"))):
        try:
            mode = path.stat().st_mode & 0o777
        except OSError:
            continue
        if mode & OTHERS:
            found[path] = mode
    return found


def _taken(env: Mapping[str, str]) -> tuple[int, ...]:
    """Return the ports of `up` that another program has."""
    wanted = [env.get(variable, port) for variable, port in PORTS.items()]
    return tuple(int(port) for port in wanted if port.isdigit() and _is_taken(int(port)))


def _is_taken(port: int) -> bool:
    if not 0 < port < 65536:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _mistakes(config: Path, env: Mapping[str, str]) -> str:
    """Return the first mistake of the configuration, which would keep all from starting."""
    from services.config_cli import mistakes  # it loads all services' settings

    found, _ = mistakes(config, env)
    return str(found[0]) if found else ""


def _lacks_triton(config: Path, env: Mapping[str, str]) -> bool:
    from services.settings import load

    is_set_up = (config.parent / ".triton/environment.json").exists()
    if env.get("CONSTELLATION_TRITON") or is_set_up:
        return False
    _, catalog = load(config, env)
    return any(not each.backend.external for each in catalog.models)
