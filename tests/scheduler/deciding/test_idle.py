"""How long the last instance stays after the last call."""

from __future__ import annotations

import numpy as np
import pytest

from services.scheduler.deciding.idle import LADDER, MARGIN, START, Idle
from services.scheduler.deciding.signal import Minute


def lived(gaps: list[int]) -> Idle:
    """A series with one call after each gap, in minutes."""
    idle = Idle()
    for index in np.cumsum(gaps).tolist():
        idle.learn(Minute(index=index, load=0.5, arrivals=1.0, late=0.0), 3)
    return idle


def test_before_anything_is_known_it_stays_for_an_hour() -> None:
    assert Idle().minutes(0.003, 0.6) == START


@pytest.mark.parametrize(
    ("slo", "minutes"), [(0.001, 240), (0.04, 30), (1.0, 0)], ids=["strict", "usual", "lax"]
)
def test_it_stays_as_long_as_the_slo_asks(slo: float, minutes: float) -> None:
    idle = lived(([30] * 99 + [200]) * 20)

    assert idle.minutes(slo, 1 / MARGIN) == minutes


def test_a_call_to_nobody_is_cold_and_so_are_those_of_its_boot() -> None:
    idle = lived([0, 100, 1, 1, 1, 1])

    hour = int(np.searchsorted(LADDER, 60))
    assert idle.cold[hour] == pytest.approx(4.0, rel=0.01)  # the very first, too
    assert idle.cold[-1] == pytest.approx(1.0, rel=0.01)
    assert idle.is_cold(102, 60.0)
    assert not idle.is_cold(103, 60.0)


def test_what_was_kept_stays_alike() -> None:
    idle, again = lived([30] * 50), Idle()

    again.restore(idle.kept())

    assert again.minutes(0.02, 1.0) == idle.minutes(0.02, 1.0)
    assert again.last == idle.last
