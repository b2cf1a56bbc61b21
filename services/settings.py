"""All settings and the catalog, read before anything starts, so that all mistakes are told."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from libs.common.catalog_files import Catalog, load_catalog
from libs.common.config import ConfigFile, read_config
from libs.common.yaml_files import Problem, Problems
from services.analytics import app as analytics
from services.control import app as control
from services.control.catalog_folder import KEPT, expected, keep
from services.entry import app as entry
from services.node import app as node
from services.scheduler import app as scheduler
from services.server import app as server

log = logging.getLogger(__name__)
CLASSES: Mapping[str, type[Any]] = {
    "entry": entry.Config,
    "server": server.Config,
    "node": node.Config,
    "control": control.Config,
    "scheduler": scheduler.Config,
    "analytics": analytics.Config,
}
GIVEN = {  # by the program or its command line, wherever a service has it
    "name": "any",
    "colo": "any",
    "state_dir": Path(),
    "root": Path(),
    "environment": Path(),
}


def load(
    folder: Path, env: Mapping[str, str], *, expected: Collection[str] = ()
) -> tuple[ConfigFile, Catalog]:
    """Read all of a configuration folder. Problems: every mistake in any of its files.

    `expected` are the catalog's folders that there must be.
    """
    problems: list[Problem] = []
    config, catalog = None, None
    try:
        config, problems = read_config(folder, env)
    except Problems as error:
        problems += error.problems
    else:
        problems += _bad_settings(config)
    # What a mistake has left out of the colos would be missed in the catalog, too.
    colos = config.colos if config and not problems else None
    try:
        catalog = load_catalog(folder, root=folder.parent, colos=colos, expected=expected)
    except Problems as error:
        problems += error.problems
    if problems or config is None or catalog is None:
        raise Problems(problems)
    return config, catalog


def load_or_last(
    folder: Path, env: Mapping[str, str], config: ConfigFile, *, state_dir: Path
) -> Catalog:
    """Read the catalog, or where it has mistakes the one that was good last, if there was one.

    So a restart beside a bad edit is none for those who call. Problems: there was none, or the
    settings have mistakes.
    """
    kept = state_dir / KEPT
    try:
        _, catalog = load(folder, env, expected=expected(kept))
    except Problems as error:
        check(config)
        if not kept.is_dir():
            raise
        try:
            last = load_catalog(kept, root=folder.parent, colos=config.colos)
        except Problems as of_kept:
            raise error from of_kept
        log.error("the catalog is the last that was good, for now: %s", error)
        return last
    keep(folder, kept)
    return catalog


def check(config: ConfigFile) -> None:
    """Read the settings of every service. Problems: all that is wrong with any of them."""
    if problems := _bad_settings(config):
        raise Problems(problems)


def each_settings(config: ConfigFile) -> Iterator[tuple[str, Any]]:
    """Yield the settings of each service, but for those that have mistakes."""
    for service in CLASSES:
        try:
            yield service, _settings(config, service)
        except Problems:
            continue


def _bad_settings(config: ConfigFile) -> list[Problem]:
    problems: list[Problem] = []
    for service in CLASSES:
        try:
            _settings(config, service)
        except Problems as error:
            problems += error.problems
    return problems


def _settings(config: ConfigFile, service: str) -> Any:
    cls = CLASSES[service]
    known = {name: value for name, value in GIVEN.items() if name in cls.__dataclass_fields__}
    return config.settings(service, cls, known)
