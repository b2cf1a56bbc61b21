"""The table of all checks, those first whose findings explain others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from services.doctor import control, events, machine, models, peers
from services.doctor.facts import Facts, Finding

Check = Callable[[Facts], Iterator[Finding]]
CHECKS: Final[tuple[Check, ...]] = (
    control.unreachable,
    control.catalog_refused,
    control.scheduler_idle,
    peers.missing,
    peers.silent,
    peers.unowned,
    peers.behind,
    models.not_ready,
    models.boots,
    models.stuck,
    models.ejected,
    models.full,
    models.late,
    models.frozen,
    events.away,
    events.spool,
    events.here,
    control.clocks,
    control.mixed_versions,
    peers.disks,
    peers.files,
    peers.certificates,
    machine.secrets,
    machine.ports,
    machine.configuration,
    machine.triton,
)


def examine(facts: Facts) -> list[Finding]:
    """Return all that is wrong, what is grave first."""
    found = [finding for check in CHECKS for finding in check(facts)]
    return sorted(found, key=lambda each: not each.is_grave)
