"""The served rate: what comes free while somebody waits, and nothing else."""

from __future__ import annotations

import pytest

from services.server.served_rate import ENOUGH_S, FADES_S, ServedRate


def served(rate: ServedRate, *, per_s: float, seconds: float, start: float = 0.0) -> float:
    step = 1 / per_s
    at = start
    while at < start + seconds:
        at += step
        rate.came_free(1, at)
    return at


@pytest.mark.parametrize("per_s", [0.5, 10.0, 1000.0])
@pytest.mark.parametrize("seconds", [4.0, 60.0])
def test_a_steady_rate_is_told_from_the_start(per_s: float, seconds: float) -> None:
    rate = ServedRate()
    rate.begin(0.0)

    served(rate, per_s=per_s, seconds=seconds)

    assert rate.per_s() == pytest.approx(per_s, rel=0.25)


def test_nothing_is_told_of_too_short_a_time() -> None:
    rate = ServedRate()
    rate.begin(0.0)
    rate.came_free(1, ENOUGH_S / 2)

    assert rate.per_s() == 0.0


def test_the_time_in_which_nobody_waits_is_left_out() -> None:
    rate = ServedRate()
    rate.begin(0.0)
    served(rate, per_s=10, seconds=5)

    rate.begin(3_600.0)
    rate.came_free(1, 3_600.1)

    assert rate.per_s() == pytest.approx(10, rel=0.1)


def test_the_past_fades() -> None:
    rate = ServedRate()
    rate.begin(0.0)
    end = served(rate, per_s=10, seconds=30)

    served(rate, per_s=100, seconds=3 * FADES_S, start=end)

    assert rate.per_s() == pytest.approx(100, rel=0.1)
