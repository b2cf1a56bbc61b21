"""`constellation config check`: every mistake of the settings and the catalog, before they run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from services.arguments import Add

if TYPE_CHECKING:
    from libs.common.yaml_files import Problem


def add_commands(commands: Any, add: Add) -> None:
    """Add the group; `add` makes a command with the flags that all have."""
    group = commands.add_parser("config", help="the settings and the catalog, as files")
    actions = group.add_subparsers(required=True, metavar="WHAT")
    about = "find every mistake in them, and in the environment; exit code 1 where there is one"
    check = add(actions, "check", about, _check)
    check.add_argument("--json", action="store_true", help="the mistakes as a list of objects")


async def _check(arguments: argparse.Namespace) -> None:
    found, fits = mistakes(arguments.config, os.environ)
    if arguments.json:
        told = [{name: getattr(each, name) for name in each.__slots__} for each in found]
        sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write("".join(f"{each}\n" for each in found) or f"{fits}\n")
    sys.stderr.write("".join(f"note: {each}\n" for each in notes(arguments.config, os.environ)))
    if found:
        count = "one mistake" if len(found) == 1 else f"{len(found)} mistakes"
        sys.exit(f"constellation: {count} in {arguments.config}")


def notes(folder: Path, env: Mapping[str, str]) -> list[str]:
    """Return what may be right on another machine, and is not here."""
    from libs.common.config import read_config
    from libs.common.yaml_files import Problems
    from services.settings_files import not_here

    try:
        return [str(each) for each in sorted(not_here(read_config(folder, env)[0]))]
    except Problems:  # no settings at all, which is a mistake by itself
        return []


def mistakes(folder: Path, env: Mapping[str, str]) -> tuple[list[Problem], str]:
    """Return all mistakes of a configuration folder; where there are none, what fits."""
    from libs.common.config import read_config, unknown_variables
    from libs.common.yaml_files import Problems
    from services.settings import CLASSES, load
    from services.settings_files import halves

    found = unknown_variables(env, CLASSES)
    with suppress(Problems):  # which `load` tells
        found += halves(read_config(folder, env)[0])
    try:
        config, catalog = load(folder, env)
    except Problems as error:
        return sorted([*found, *error.problems]), ""
    staged = f", {len(catalog.staged)} staged in one colo" if catalog.staged else ""
    fits = (
        f"{folder}: settings of {len(CLASSES)} services, {len(config.colos)} colos, "
        f"{len(catalog.models)} models{staged} and {len(catalog.finetunes)} finetunes fit"
    )
    return sorted(found), "" if found else fits
