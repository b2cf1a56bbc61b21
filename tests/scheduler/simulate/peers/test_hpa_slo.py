"""The loop that moves a utilization, worked out by hand."""

from __future__ import annotations

import math

import pytest

from services.scheduler.simulate.peers.hpa_slo import HpaSlo, moved
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import NOTHING

CASES = {
    "a day without late requests": (0.5, 0.0, 86400.0, 0.5 * math.exp(0.1)),
    "a day at the objective": (0.5, 1.0, 86400.0, 0.5),
    "a minute with a hundred times as many": (0.5, 100.0, 60.0, 0.5 * math.exp(-0.1 * 99 / 1440)),
    "a minute with any more than a thousand times": (
        0.5,
        1e9,
        60.0,
        0.5 * math.exp(-0.1 * 999 / 1440),
    ),
    "no lower than": (0.05, 1000.0, 86400.0, 0.05),
    "no higher than": (0.99, 0.0, 86400.0, 1.0),
}


@pytest.mark.parametrize(("start", "ratio", "seconds", "expected"), CASES.values(), ids=CASES)
def test_late_requests_lower_the_utilization(
    start: float, ratio: float, seconds: float, expected: float
) -> None:
    assert moved(start, ratio=ratio, gain=0.1, seconds=seconds) == pytest.approx(expected)


def test_the_utilization_that_it_has_come_to_sizes() -> None:
    policy = HpaSlo(Terms(slo=0.01), share=0.5, gain=10, down_window_s=300)
    seen = NOTHING._replace(ready=10, seconds=15.0, arrivals=1500, mean_demand=50.0)
    policy.wanted(seen._replace(seconds=0.0, arrivals=0, mean_demand=0.0))

    # 100 arrive in a second: 1500 x 0.005 = 7.5 late ones would be as asked; 1500 are 200 times
    # that, so 0.5 e^(-10 x 199 x 15 / 86400) = 0.354, and 50 / 3.54 = 14.1
    assert policy.wanted(seen._replace(t=15.0)) == 10
    assert policy.wanted(seen._replace(t=30.0, late=1500)) == 15
