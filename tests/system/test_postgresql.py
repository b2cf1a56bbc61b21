"""Two schedulers on PostgreSQL, which cuts them off and is away: one is active again and scales."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.postgres import PostgreSQL
from tests.short_dirs import short_dir
from tests.system.fleet import Calls, Fleet
from tests.system.harness import cleaned_up, until

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(200),
    pytest.mark.xdist_group("processes"),
]
Told = Callable[[str, object], None]


@pytest.fixture(scope="module")
def database(postgresql: PostgreSQL) -> Iterator[str]:
    """Of control and of the scheduler."""
    with postgresql.database() as name:
        yield name


@pytest.fixture(scope="module")
def fleet(postgresql: PostgreSQL, database: str) -> Iterator[Fleet]:
    with short_dir() as state, cleaned_up(state):
        made = Fleet(state, {"CONSTELLATION_CONTROL_STORE_URL": postgresql.url(database)})
        made.start()
        yield made
        made.stop()
        until(lambda: len(made.instances()) <= made.wanted, seconds=5, what="no orphan")


def active(fleet: Fleet) -> list[str]:
    """The schedulers that are up, and do not merely stand by."""
    both = {name: fleet.services[name] for name in "ab"}
    return [
        name
        for name, each in both.items()
        if each.process.poll() is None and "scheduler is up: " in each.text()
    ]


def test_cut_connections_cost_nothing(
    fleet: Fleet, postgresql: PostgreSQL, database: str, told: Told
) -> None:
    before = active(fleet)
    with Calls(fleet.http) as calls:
        for _ in range(5):
            postgresql.cut(database)
            time.sleep(1)
        fleet.want(2)
        took = fleet.comes_to(2)
    told(f"control's connections to PostgreSQL cut 5 times, scaled after {took:.1f} s", calls)

    assert active(fleet) == before
    assert set(calls.ends) == {"200"}
    assert took < 15


@pytest.mark.parametrize("away_s", [2, 12])
def test_a_server_that_stops_at_once_and_comes_back(
    fleet: Fleet, postgresql: PostgreSQL, told: Told, away_s: int
) -> None:
    before = set(fleet.instances())
    with Calls(fleet.http) as calls:
        postgresql.stop()
        try:
            time.sleep(away_s)
            there = set(fleet.instances())
        finally:
            postgresql.start()
        began = time.monotonic()
        fleet.want(3 if fleet.wanted == 2 else 2)
        fleet.comes_to(fleet.wanted)
        took = time.monotonic() - began
        until(lambda: len(active(fleet)) == 1, seconds=10, what=lambda: f"one: {active(fleet)}")
    told(
        f"PostgreSQL stopped for {away_s} s under load, scaled {took:.1f} s after it was back",
        calls,
    )

    assert there == before  # nobody starts or stops anything meanwhile
    assert set(calls.ends) == {"200"}
    assert took < 15 + (6 if fleet.wanted == 2 else 0)  # one that goes drains before
