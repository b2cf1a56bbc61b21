"""What the agent decides, from what should run and what does."""

from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Resources
from libs.common.world_map import Node
from services.node.ports import InstanceSpec, RunningInstance
from services.node.reconcile import (
    STEADY_S,
    Actions,
    Managed,
    backoff_s,
    decide,
    is_other,
    note_deaths,
    with_room,
)

SPEC = InstanceSpec(id="n/echo/0", model="m", served_as="echo", repository=Path("r"))
OTHER = InstanceSpec(
    id="n/echo/0", model="m", served_as="echo", repository=Path("r"), adapters={"a": Path("a")}
)


ANEW = replace(SPEC, command=("serve",))


def managed(state: str, **changes: object) -> Managed:
    return Managed(spec=SPEC, state=state, since_ms=0, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "known", "idle", "expected"),
    [
        (SPEC, None, False, Actions(start=[SPEC])),
        (SPEC, managed("booting"), False, Actions()),
        (SPEC, managed("ready"), False, Actions()),
        (OTHER, managed("ready"), False, Actions(relink=[OTHER])),
        (SPEC, managed("draining"), True, Actions(undrain=["n/echo/0"])),
        (SPEC, managed("failed", retry_at=101.0), False, Actions()),
        (SPEC, managed("failed", retry_at=99.0), False, Actions(start=[SPEC])),
        (None, managed("ready"), False, Actions(drain=["n/echo/0"])),
        (None, managed("booting"), False, Actions(stop=["n/echo/0"])),
        (None, managed("booting", stop_at=101.0), False, Actions()),
        (None, managed("draining", drain_until=101.0), False, Actions()),
        (None, managed("draining", drain_until=101.0), True, Actions(stop=["n/echo/0"])),
        (None, managed("draining", drain_until=99.0), False, Actions(stop=["n/echo/0"])),
        (None, managed("failed"), False, Actions(stop=["n/echo/0"])),
        (ANEW, managed("ready"), False, Actions(drain=["n/echo/0"])),
        (ANEW, managed("draining", drain_until=101.0), False, Actions()),
        (ANEW, managed("draining", drain_until=101.0), True, Actions(stop=["n/echo/0"])),
        (ANEW, managed("booting"), False, Actions(stop=["n/echo/0"])),
        (ANEW, managed("failed", retry_at=99.0), False, Actions(start=[ANEW])),
        (None, None, False, Actions()),
    ],
    ids=[
        "new: start",
        "booting: wait",
        "ready: nothing",
        "other adapters: relink",
        "wanted again: undrain",
        "failed: wait for its time",
        "failed: its time has come",
        "unwanted: drain",
        "unwanted in its boot: cancel",
        "could not be stopped: wait",
        "draining, calls in flight: wait",
        "draining, idle: stop",
        "draining, out of time: stop",
        "failed and unwanted: forget",
        "another command: drain",
        "another command, calls in flight: wait",
        "another command, idle: stop, to begin anew",
        "another command, booting: cancel, to begin anew",
        "another command, failed: start that one",
        "nothing at all",
    ],
)
def test_decisions(
    wanted: InstanceSpec | None,
    known: Managed | None,
    idle: bool,
    expected: Actions,
) -> None:
    actions = decide(
        wanted={SPEC.id: wanted} if wanted else {},
        managed={SPEC.id: known} if known else {},
        idle=[SPEC.id] if idle else [],
        now=100.0,
    )

    assert actions == expected


@pytest.mark.parametrize(
    ("state", "idle", "until"),
    [("draining", True, 101.0), ("draining", False, 99.0), ("booting", False, 0.0)],
)
def test_nothing_is_stopped_that_the_map_still_shows_as_ready(
    state: str, idle: bool, until: float
) -> None:
    """Control may be away: servers then go on sending calls there."""
    known = managed(state, drain_until=until)
    ids = [SPEC.id] if idle else []

    for listed, expected in (([SPEC.id], Actions()), ([], Actions(stop=[SPEC.id]))):
        found = decide(wanted={}, managed={SPEC.id: known}, idle=ids, listed=listed, now=100.0)
        assert found == expected


def spec(name: str, cpus: float) -> InstanceSpec:
    return InstanceSpec(
        id=name, model=name, served_as=name, repository=Path(), resources=Resources(cpus=cpus)
    )


@pytest.mark.parametrize(
    ("going", "started"),
    [([], ["b", "c", "d"]), ([spec("x", 2)], ["c"]), ([spec("x", 0.5)], ["b", "c"])],
    ids=["nothing goes: the scheduler's word stands", "what goes holds it", "there is room"],
)
def test_what_has_no_room_beside_what_goes_waits_for_it(
    going: list[InstanceSpec], started: list[str]
) -> None:
    found = with_room(
        [spec("b", 2), spec("c", 0.5), spec("d", 1)],
        staying=[spec("a", 1)],
        going=going,
        node=Node(name="n", colo="ams", cpus=4),
    )

    assert [each.id for each in found] == started


@pytest.mark.parametrize(
    ("known", "runs", "is_another"),
    [
        (None, SPEC, True),
        (managed("ready"), SPEC, False),
        (managed("ready"), OTHER, False),  # adapters alone
        (managed("ready"), None, False),  # its driver does not know
        (managed("ready"), ANEW, True),
        (managed("draining"), ANEW, True),
        (managed("booting"), ANEW, False),  # what was there before may still be seen
    ],
)
def test_what_took_the_place_of_an_instance_is_not_taken_for_it(
    known: Managed | None, runs: InstanceSpec | None, is_another: bool
) -> None:
    found = RunningInstance(id=SPEC.id, model="m", address="127.0.0.1:1", spec=runs)

    assert is_other(known, found) is is_another


def test_a_death_is_noticed_and_mended_at_once() -> None:
    known = managed("ready", ready_at=0.0)

    assert note_deaths({SPEC.id: known}, [], now=100.0, longest_s=60) == [SPEC.id]

    assert (known.state, known.retry_at) == ("failed", 100.0)


def test_one_that_dies_again_and_again_waits_longer_and_longer() -> None:
    known = managed("ready", ready_at=100.0)
    waits = []
    for _ in range(9):
        note_deaths({SPEC.id: known}, [], now=100.0, longest_s=60)
        waits.append(known.retry_at - 100.0)
        known.state = "ready"

    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_steady_work_is_forgiven() -> None:
    known = managed("ready", ready_at=0.0, failures=5)

    note_deaths({SPEC.id: known}, [], now=STEADY_S + 1, longest_s=60)

    assert known.failures == 1


def test_a_boot_under_way_is_no_death() -> None:
    assert note_deaths({SPEC.id: managed("booting")}, [], now=0.0, longest_s=60) == []
    assert backoff_s(0, 60) == 0
