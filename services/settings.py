"""Every service's settings, read once before anything starts, so that all mistakes are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libs.common.config import ConfigFile
from libs.common.yaml_files import Problem, Problems
from services.analytics import app as analytics
from services.control import app as control
from services.entry import app as entry
from services.node import app as node
from services.scheduler import app as scheduler
from services.server import app as server

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


def check(config: ConfigFile) -> None:
    """Read the settings of every service. Problems: all that is wrong with any of them."""
    problems: list[Problem] = []
    for service, cls in CLASSES.items():
        known = {name: value for name, value in GIVEN.items() if name in cls.__dataclass_fields__}
        try:
            config.settings(service, cls, known)
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
