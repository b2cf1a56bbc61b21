"""Real processes, killed one after the other: the fleet comes back to what it should be.

Two schedulers on one store, a node whose instances are processes, a server, an entry, and calls all
the time. No orphan, no double, and nothing that a call notices but what ran where it was killed.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.short_dirs import short_dir
from tests.system.fleet import Calls, Fleet
from tests.system.harness import cleaned_up, until

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(280),
    pytest.mark.xdist_group("processes"),
]
Told = Callable[[str, object], None]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with short_dir() as state, cleaned_up(state):
        made = Fleet(state)
        made.start()
        yield made
        made.stop()
        until(lambda: len(made.instances()) <= made.wanted, seconds=5, what="no orphan")


def test_the_active_scheduler_is_killed_and_the_other_scales(fleet: Fleet, told: Told) -> None:
    for killed, other in (("a", "b"), ("b", "a")):
        with Calls(fleet.http) as calls:
            fleet.killed = {killed}
            fleet.services[killed].kill()
            began = time.monotonic()
            fleet.want(3 if killed == "a" else 1)
            fleet.comes_to(fleet.wanted)
            took = time.monotonic() - began
        fleet.killed = set()
        fleet.services[killed].start().wait_for("standing by")
        told(f"kill -9 of the active scheduler, scaled after {took:.1f} s", calls)

        assert "scheduler is up" in fleet.services[other].text()
        assert set(calls.ends) == {"200"}
        assert took < 15 + (6 if fleet.wanted == 1 else 0)  # one that goes drains before


def test_a_stopped_scheduler_ends_once_another_is_active(fleet: Fleet, told: Told) -> None:
    process = fleet.services["a"].process
    process.send_signal(signal.SIGSTOP)
    try:
        with Calls(fleet.http) as calls:
            time.sleep(8)  # the other cannot have its sockets while it lives
    finally:
        process.send_signal(signal.SIGCONT)
    process.wait(20)
    told("a scheduler that is stopped for 8 s", calls)
    fleet.want(2)

    fleet.comes_to(2)
    assert set(calls.ends) == {"200"}


def test_a_killed_agent_takes_nothing_with_it(fleet: Fleet, told: Told) -> None:
    before = set(fleet.instances())
    with Calls(fleet.http) as calls:
        fleet.services["node"].kill()
        time.sleep(3)
        fleet.services["node"].start().wait_for(" is up: ")
        time.sleep(3)
    told("kill -9 of a node's agent, over processes", calls)

    assert set(fleet.instances()) == before
    assert set(calls.ends) == {"200"}


def test_instances_that_are_killed_behind_their_agents_back_come_again(
    fleet: Fleet, told: Told
) -> None:
    count = len(fleet.instances())
    with Calls(fleet.http) as calls:
        for pid in fleet.instances():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        fleet.comes_to(count)
    told("kill -9 of all instances", calls)

    assert calls.ends["200"] > 10
    assert set(calls.ends) <= {"200", "503"}


def test_a_store_that_is_away_costs_writes_alone(fleet: Fleet, told: Told) -> None:
    with Calls(fleet.http) as calls, closing(sqlite3.connect(fleet.state / "control.db")) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(12)
        other.execute("ROLLBACK")
    told("control's store locked for 12 s", calls)
    fleet.want(1)

    fleet.comes_to(1, seconds=60)
    assert set(calls.ends) == {"200"}
