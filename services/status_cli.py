"""The flags of `constellation status` and `constellation doctor`, and what they do."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from typing import Any, Final

from services.arguments import Add
from services.usage_cli import CLEAR, EVERY_S, read_seconds

APART_S: Final = 2.5  # between two looks at loads, which are reported each second
WIDTHS: Final = (60, 100)
DEGRADED, AWAY = 1, 2  # exit codes of status


def add_commands(commands: Any, add: Add) -> None:
    """Add both commands; `add` makes one with the flags that all have."""
    about = "the cluster at a glance; exit code 0: healthy, 1: degraded, 2: it cannot be reached"
    status = _of(add, commands, "status", about, _status)
    way = status.add_mutually_exclusive_group()
    way.add_argument("--json", action="store_true", help="all that is known, as an object")
    again = f"show it again and again, every {EVERY_S:g} s unless told; Ctrl-C ends it"
    way.add_argument(
        "--watch", nargs="?", type=read_seconds, const=EVERY_S, metavar="SECONDS", help=again
    )
    status.add_argument("--all", action="store_true", help="every row, and whole names")
    about = "what is wrong with what runs, why it matters, how it is mended; exit code 1 for any"
    doctor = _of(add, commands, "doctor", about, _doctor)
    doctor.add_argument("--json", action="store_true", help="the findings as a list of objects")


def _of(add: Add, commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    command = add(commands, name, about, run)
    where = "control's address; that of the state folder without"
    command.add_argument("--control", default="", help=where)
    return command


async def _status(arguments: argparse.Namespace) -> None:
    while arguments.watch:
        text, _ = await _look(arguments)
        sys.stdout.write(f"{CLEAR}{text}" if sys.stdout.isatty() else f"{text}\n")
        sys.stdout.flush()
        await asyncio.sleep(arguments.watch)
    text, code = await _look(arguments)
    if code == AWAY and not arguments.json:
        sys.stderr.write(text)
    else:
        sys.stdout.write(text)
    if code:
        sys.exit(code)


async def _look(arguments: argparse.Namespace) -> tuple[str, int]:
    """Return what there is to see, and the exit code that says it."""
    from services.doctor.checks import examine
    from services.doctor.gathering import gather
    from services.status_json import as_json
    from services.status_tables import screen

    facts = await gather(arguments)
    found = examine(facts)
    code = AWAY if facts.unreachable else DEGRADED if any(e.is_grave for e in found) else 0
    if arguments.json:
        return as_json(facts, found), code
    if facts.unreachable:
        return f"constellation: {facts.unreachable}\n", code
    return screen(facts, found, everything=arguments.all), code


async def _doctor(arguments: argparse.Namespace) -> None:
    from services.doctor.checks import CHECKS, examine
    from services.doctor.gathering import gather
    from services.doctor.text import as_json, as_text

    facts = await gather(arguments, apart_s=APART_S)
    found = examine(facts)
    if arguments.json:
        sys.stdout.write(as_json(found))
    else:
        least, most = WIDTHS
        width = min(most, max(least, shutil.get_terminal_size().columns))
        checks = len(CHECKS)
        sys.stdout.write(as_text(found, control=facts.control, checks=checks, width=width))
    if found:
        sys.exit(1)
