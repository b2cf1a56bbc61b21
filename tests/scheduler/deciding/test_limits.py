"""What is applied to a requirement: floor, guard, damping."""

from __future__ import annotations

import pytest

from services.scheduler.deciding.damping import Damping, hold_s
from services.scheduler.deciding.floor import Recent, floor
from services.scheduler.deciding.guard import Guard
from services.scheduler.deciding.idle import keep_alive
from services.scheduler.deciding.minutes import Minutes
from services.scheduler.deciding.surge import boot_minutes, extra, waiting


@pytest.mark.parametrize(
    ("recent", "usual", "instances"),
    [(0.0, 0.0, 0), (100.0, 100.0, 0), (129.0, 100.0, 0), (131.0, 100.0, 18), (1.0, 0.0, 1)],
    ids=["idle", "as usual", "chance", "more than chance", "the first call"],
)
def test_floor(recent: float, usual: float, instances: int) -> None:
    assert floor(recent, usual, 8) == instances


def test_the_last_ten_seconds_are_a_mean_of_spans() -> None:
    recent = Recent()
    for load in (100.0, 20.0, 40.0):
        recent.add(5.0, load)

    assert recent.mean == 30.0


def test_down_goes_to_the_largest_of_a_while_and_up_at_once() -> None:
    damping = Damping()

    found = [
        damping.largest(at, required, 60.0)
        for at, required in [(0, 5), (30, 3), (60, 4), (61, 2), (121, 1), (122, 7)]
    ]

    assert found == [5, 5, 5, 4, 2, 7]


@pytest.mark.parametrize(("boot_s", "held"), [(0, 60), (60, 90), (120, 180), (600, 180)])
def test_who_boots_long_stays_long(boot_s: float, held: float) -> None:
    assert hold_s(boot_s) == held


def guarded(loads: list[float]) -> tuple[Guard, Minutes]:
    guard, minutes = Guard(), Minutes()
    for index, load in enumerate(loads):
        minutes.add(index, load)
        guard.learn(minutes)
    return guard, minutes


def test_a_first_fall_is_held_for_a_while() -> None:
    guard, minutes = guarded([80.0] * 30 + [20.0])

    assert guard.instances(minutes.last, 8) == 9  # 0.9 * 80 / 8
    assert guard.instances(minutes.last + 20, 8) == 0


def test_falls_that_are_usual_are_not_held() -> None:
    guard, minutes = guarded(([80.0] * 50 + [20.0] * 50) * 3)
    last_fall = guard.falls[-1]

    assert len(guard.falls) == 3
    assert guard.until < last_fall <= minutes.last


def test_what_was_kept_guards_alike() -> None:
    guard, _ = guarded([80.0] * 30 + [20.0])
    again = Guard()

    again.restore(guard.kept())

    assert again == guard


@pytest.mark.parametrize(
    ("wanted", "idle_s", "instances"),
    [(0, 599.0, 1), (1, 601.0, 0), (2, 601.0, 2), (3, 1.0, 3)],
    ids=["kept", "over", "more is wanted", "at work"],
)
def test_keep_alive(wanted: int, idle_s: float, instances: int) -> None:
    assert keep_alive(wanted, idle_s=idle_s, keep_s=600.0) == instances


@pytest.mark.parametrize(
    ("queued", "load", "serving", "waits"),
    [(0, 40, 40, 0), (10, 40, 40, 10), (10, 80, 40, 1200), (10, 50, 40, 310)],
    ids=["none", "who waits now", "no more than wait at all", "and who comes until then"],
)
def test_who_waits_when_a_boot_is_over(
    queued: float, load: float, serving: float, waits: float
) -> None:
    assert waiting(queued, load, serving, 120.0, 4.0) == pytest.approx(waits)


def test_a_surge_costs_as_much_as_it_spares() -> None:
    price, load, waits, minutes = 1.0, 170.0, 1200.0, boot_minutes(120.0)

    def cost(more: float) -> float:
        return price * load * waits / more + minutes * more / 8

    best = extra(price, load, waits, 8, minutes)

    assert cost(best) <= min(cost(0.9 * best), cost(1.1 * best))
