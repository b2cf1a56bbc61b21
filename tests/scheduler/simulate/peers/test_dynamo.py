"""Dynamo's rule, worked out by hand; 70 % of 10 permits by 7 s is 1 request a second."""

from __future__ import annotations

import numpy as np
import pytest

from services.scheduler.simulate.peers.dynamo import Dynamo, Kalman
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import NOTHING, followed

TERMS = Terms(permits=10, service_mean_s=7.0)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 0), (3.0, 3), (3.1, 4)])
def test_the_last_rate_is_what_comes(rate: float, expected: int) -> None:
    dynamo = Dynamo(TERMS, utilization=0.7, kalman=0)
    seen = NOTHING._replace(t=180, seconds=180, arrivals=round(180 * rate))

    assert dynamo.wanted(seen) == expected


def test_a_rise_goes_on() -> None:
    dynamo = Dynamo(TERMS, utilization=0.7, kalman=1)

    wanted = followed(dynamo, [2.0, 4.0, 6.0, 8.0, 10.0], ready=1)

    # 360 and 720 requests: half of the difference goes to the trend, (718 + 179) / 180 = 4.98
    assert wanted == [2, 5, 8, 10, 12]


def test_the_first_steps_of_the_filter() -> None:
    kalman = Kalman()

    assert kalman.next_after(0.0) == 0.0  # not begun
    assert kalman.next_after(100.0) == 100.0
    # variances 1000 and 1000: level variance 2001, gain 2001 / 2011 and 1000 / 2011
    level = 100 + 2001 / 2011 * 40
    trend = 1000 / 2011 * 40
    assert kalman.next_after(140.0) == pytest.approx(level + trend)


def test_the_filter_is_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    values = 100 + np.cumsum(rng.normal(0, 5, 50))
    step, look = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    state, spread = np.array([values[0], 0.0]), np.eye(2) * 1000.0
    kalman = Kalman()
    kalman.next_after(values[0])

    for value in values[1:]:
        state, spread = step @ state, step @ spread @ step.T + np.diag([1.0, 0.1])
        gain = spread @ look.T / (look @ spread @ look.T + 10.0)
        state = state + (gain * (value - look @ state)).ravel()
        spread = (np.eye(2) - gain @ look) @ spread

        assert kalman.next_after(value) == pytest.approx((step @ state)[0])
