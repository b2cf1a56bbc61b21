"""Which instances stay where fewer should run: as many that serve as can be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.node.choosing import chosen_instances
from services.node.ports import InstanceSpec
from services.node.reconcile import Managed
from services.node.wanted import Wish

SPEC = InstanceSpec(id="n/m/", model="m", served_as="m", repository=Path("new"))


def slot(number: int, state: Any, *, since: int = 0, **more: Any) -> Managed:
    repository = Path(more.pop("repository", "new"))
    spec = replace(SPEC, id=f"n/m/{number}", repository=repository)
    return Managed(spec=spec, state=state, since_ms=since, **more)


def stay(
    instances: int, *there: Managed, stopping: Collection[int] = (), busy: Any = None
) -> list[int]:
    found = chosen_instances(
        [Wish(spec=SPEC, instances=instances)],
        {each.spec.id: each for each in there},
        stopping={f"n/m/{number}" for number in stopping},
        calls=lambda spec: (busy or {}).get(int(spec.id[-1]), 0),
    )
    return [int(id_.removeprefix("n/m/")) for id_ in found]


@pytest.mark.parametrize(
    ("there", "instances", "left"),
    [
        ([slot(0, "failed", retry_at=60.0), slot(1, "ready")], 1, [1]),
        ([slot(0, "booting"), slot(1, "ready")], 1, [1]),
        ([slot(0, "failed"), slot(1, "booting")], 1, [1]),
        ([slot(0, "draining"), slot(1, "ready")], 1, [1]),
        ([slot(0, "booting"), slot(1, "draining")], 1, [1]),
        ([slot(0, "failed"), slot(1, "draining")], 1, [1]),
        ([slot(0, "booting", since=9), slot(1, "booting", since=5)], 1, [1]),
        ([slot(0, "failed", retry_at=60.0), slot(1, "failed", retry_at=1.0)], 1, [1]),
        ([slot(0, "ready", since=9), slot(1, "ready", since=5)], 1, [1]),
        ([slot(0, "ready"), slot(1, "ready")], 1, [0]),
        ([slot(0, "ready", repository="old"), slot(1, "booting")], 1, [1]),
        ([slot(0, "failed"), slot(1, "ready", repository="old")], 1, [1]),
        ([slot(4, "ready")], 1, [4]),
        ([slot(1, "ready")], 3, [1, 0, 2]),
        ([slot(0, "ready"), slot(1, "failed"), slot(2, "booting")], 2, [0, 2]),
        ([slot(0, "draining", stop_failures=1)], 1, [1]),
        ([slot(0, "ready")], 0, []),
    ],
    ids=[
        "backing off before ready",
        "booting before ready",
        "failed before booting",
        "draining before ready",
        "a drain is taken back before a boot is waited for",
        "a drain is taken back before a failed one is waited for",
        "the newest boot first",
        "who is tried again last first",
        "the youngest first",
        "all alike: the last slot",
        "outdated before booting",
        "failed before outdated",
        "an orphan has a place as good as any",
        "free slots are filled",
        "failed, then booting",
        "what could not be stopped is nobody's",
        "none",
    ],
)
def test_who_serves_least_goes_first(there: list[Managed], instances: int, left: list[int]) -> None:
    assert stay(instances, *there) == left


def test_of_those_that_serve_the_least_busy_goes() -> None:
    there = [slot(number, "ready") for number in range(3)]

    assert stay(2, *there, busy={0: 2, 2: 1}) == [0, 2]


def test_what_is_being_stopped_begins_anew_before_another_slot_is_taken() -> None:
    there = [slot(0, "draining"), slot(1, "failed")]

    assert stay(1, *there, stopping={0}) == [0]
    assert stay(2, *there, stopping={0}) == [0, 1]
    assert stay(1, slot(0, "ready"), slot(1, "booting"), stopping={0}) == [1]


def test_instances_of_others_are_left_out() -> None:
    stranger = replace(slot(0, "ready"), spec=replace(SPEC, id="n/m/x"))
    longer = replace(slot(0, "ready"), spec=replace(SPEC, id="n/m/00"))

    assert stay(1, stranger, longer) == [0]


STATES = st.sampled_from(["booting", "ready", "draining", "failed"])


@given(st.lists(STATES, max_size=6), st.integers(0, 6))
def test_nobody_who_serves_goes_while_one_stays_who_does_not(
    states: list[Any], wanted: int
) -> None:
    left = stay(wanted, *(slot(number, state) for number, state in enumerate(states)))

    assert len(left) == wanted
    assert len(set(left)) == wanted
    ready = {number for number, state in enumerate(states) if state == "ready"}
    assert len(ready & set(left)) == min(len(ready), wanted)
