"""How arguments are read: a parser that blames the right command, and what values must be."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from libs.common.addresses import host_port
from services import logs

Run = Callable[[argparse.Namespace], Coroutine[Any, Any, None]]
# Adds a command to a group, with the flags that all have: its name, what it does, what runs it.
Add = Callable[[Any, str, str, Run], argparse.ArgumentParser]
MOST_WORKERS = 256
BENCHES = (
    "gateway",
    "tasks",
    "capacity",
    "slow_reader",
    "soak",
    "affinity",
    "overload",
    "limits",
    "events",
    "scaling",
    "usage",
)


class Command(argparse.ArgumentParser):
    """Refuses itself what it does not know: argparse leaves that to the command above it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read all arguments; one that there is not is told with this command's usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def read_level(text: str) -> str:
    """Check a level of logging."""
    if text.lower() not in logs.LEVELS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(logs.LEVELS)}, got {text!r}")
    return text.lower()


def read_folder(text: str) -> Path:
    """Return a folder that stays where it is if the process goes elsewhere."""
    return Path(text).absolute()


def read_port(text: str) -> int:
    """Read a port."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, got {text!r}")
    return number


def read_workers(text: str) -> int:
    """Read how many processes there are to be."""
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MOST_WORKERS}, got {text!r}")
    return int(text)


def read_address(text: str) -> str:
    """Check host:port; nothing is an address, too: that of nobody."""
    try:
        host_port(text or "nobody:0")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
