"""Checks of control, the scheduler, and whether all are of one mind: version, clock, catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from libs.common.catalog import Model
from libs.common.world_map import Decision, Node
from services.doctor.facts import Facts, Finding
from services.quantities import ago

IDLE_TICKS: Final = 2.5
LEAST_IDLE_S: Final = 10.0
UPGRADE_S: Final = 3600.0  # which a rolling upgrade is done in
SKEW_S: Final = 2.0


def unreachable(facts: Facts) -> Iterator[Finding]:
    """Control does not answer."""
    machine = facts.machine
    if not facts.unreachable:
        return
    if machine is not None and machine.holders:
        holders = ", ".join(f"{name} (pid {pid})" for name, pid in machine.holders.items())
        yield Finding(
            what=f"control does not answer, though {machine.state_dir} is held by {holders}",
            why="it starts, stands by, follows a control elsewhere, or hangs;"
            " nothing is known of the cluster here",
            mend="wait a minute; name the control with --control HOST:7100; read that process's log"
            f"; or end it: kill {next(iter(machine.holders.values()))}",
        )
        return
    where = f"in {machine.state_dir}" if machine is not None else f"at {facts.control}"
    left = machine.left if machine is not None else {}
    gone = "".join(f"; {name} (pid {pid}) is gone" for name, pid in left.items())
    yield Finding(
        what=f"nothing runs {where}{gone}" if machine is not None else f"nothing answers {where}",
        why="no call is answered here" if machine is not None else facts.unreachable,
        mend="constellation up"
        if machine is not None
        else "constellation scheduler on that machine; look at its log, and at firewalls between",
    )


def catalog_refused(facts: Facts) -> Iterator[Finding]:
    """An edit of the catalog has mistakes."""
    mistakes = facts.status.mistakes if facts.status is not None else ()
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        yield Finding(
            what=f"an edit of the catalog is refused: {mistakes[0]}{more}",
            why="the last good catalog is served: nothing of the edit has any effect",
            mend="constellation config check",
        )


def scheduler_idle(facts: Facts) -> Iterator[Finding]:
    """Nothing is decided any more."""
    status = facts.status
    if status is None or not status.tick_s or not facts.world.table(Node):
        return
    if not facts.world.table(Model):
        return
    now_ms = status.process.now_ms
    longest_s = max(IDLE_TICKS * status.tick_s, LEAST_IDLE_S)
    decided = [each.at_ms for each in facts.world.table(Decision).values()]
    newest = max([*decided, status.active_since_ms])
    if (now_ms - newest) / 1000 > longest_s:
        last = f"for {ago((now_ms - newest) / 1000)}"
        yield Finding(
            what=f"the scheduler has decided nothing {last}: it should every {status.tick_s:g} s",
            why="models neither scale nor come back where their instances are lost",
            mend=f"look for errors in the log of control {status.name} on {status.process.host},"
            " and restart that process: calls go on meanwhile",
        )


def mixed_versions(facts: Facts) -> Iterator[Finding]:
    """An upgrade was begun, and not ended."""
    versions = facts.versions
    started = [each.started_ms for each in facts.processes.values()]
    if len(versions) < 2 or (facts.at_ms - max(started)) / 1000 < UPGRADE_S:
        return
    told = "; ".join(f"{version}: {', '.join(who)}" for version, who in sorted(versions.items()))
    yield Finding(
        what=f"{len(versions)} versions run since more than an hour: {told}",
        why="neighbours of two versions work together for an upgrade; tests hold no others to it",
        mend="restart what is older, one after the other: docs/operating.md",
        is_grave=False,
    )


def clocks(facts: Facts) -> Iterator[Finding]:
    """A clock goes otherwise than control's."""
    for each in facts.peers:
        if each.is_reporting and each.process is not None and abs(each.ahead_s) > SKEW_S:
            way = "ahead of" if each.ahead_s > 0 else "behind"
            yield Finding(
                what=f"the clock of {each.kind} {each.name} on {each.process.host} is"
                f" {abs(each.ahead_s):.1f} s {way} control's",
                why="tokens expire at the wrong time, and events and days of limits are mixed up",
                mend=f"on {each.process.host}: timedatectl set-ntp true",
            )
