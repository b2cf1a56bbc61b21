"""What decides until a series' history is back."""

from __future__ import annotations

import pytest

from services.scheduler.deciding import Situation, Span, StandIn


def asked(current: int, *, low: int = 0, high: int = 9) -> Situation:
    return Situation(
        at=60.0,
        ready=current,
        booting=0,
        permits=8,
        boot_s=30.0,
        current=current,
        min=low,
        max=high,
        keep_alive_s=0.0,
    )


@pytest.mark.parametrize(
    ("load", "now", "instances"),
    [
        pytest.param(None, asked(3), 3, id="what there is stays"),
        pytest.param(0.0, asked(3), 3, id="without calls, too"),
        pytest.param(0.0, asked(0), 0, id="nothing is started for nothing"),
        pytest.param(0.2, asked(0), 1, id="a call starts the first"),
        pytest.param(40.0, asked(3), 6, id="more, as the last seconds need more"),
        pytest.param(40.0, asked(6), 6, id="as many as are there already"),
        pytest.param(0.0, asked(1, low=2), 2, id="the minimum"),
        pytest.param(400.0, asked(1), 9, id="the maximum"),
        pytest.param(0.0, asked(12), 9, id="the maximum counts more than what there is"),
        pytest.param(float("nan"), asked(3), 3, id="what cannot be"),
    ],
)
def test_it_keeps_what_there_is(load: float | None, now: Situation, instances: int) -> None:
    stand_in = StandIn()
    if load is not None:
        stand_in.observe(Span(until=60.0, seconds=10, load=load, arrivals=1))

    made = stand_in.decide(now)

    assert made.instances == instances
    assert made.reasons[0] == "its history is being read: what there is stays"


def test_it_says_why_there_are_more() -> None:
    stand_in = StandIn()
    stand_in.observe(Span(until=60.0, seconds=10, load=40.0, arrivals=100))

    assert stand_in.decide(asked(3, high=5)).reasons[1:] == (
        "the last 10 s had 40.0",
        "the maximum is 5",
    )
