"""What was asked for, and minutes made of spans."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.deciding.signal import Gathering, Minute, Service, demand, sound
from services.scheduler.deciding.values import Span


def span(**fields: float) -> Span:
    return Span(**{"until": 5.0, "seconds": 5.0, "load": 0.0, "arrivals": 0.0, **fields})


@pytest.mark.parametrize(
    ("seen", "asked"),
    [
        (span(load=30, arrivals=10), 30),
        (span(load=300, arrivals=50, saturated=1), 40),
        (span(load=300, arrivals=50, saturated=0.5), 170),
        (span(load=20, arrivals=50, saturated=1), 20),
        (span(load=14, arrivals=0, saturated=1, in_flight=12), 12),
        (span(load=14, arrivals=50, saturated=1, in_flight=12), 14),
    ],
    ids=[
        "free permits",
        "a queue says nothing",
        "half of the time",
        "never more than is there",
        "what runs is asked for",
        "more than runs",
    ],
)
def test_demand(seen: Span, asked: float) -> None:
    assert demand(seen, 4.0) == pytest.approx(asked)


def test_spans_become_minutes_of_the_clock() -> None:
    gathering = Gathering()
    ends = (20, 40, 60, 80)

    found = [
        gathering.add(span(until=end, seconds=20, arrivals=2, late=1), 1.5 * end - 20)
        for end in ends
    ]

    whole = Minute(index=0, load=40.0, arrivals=6, late=3, variance=600.0, span_s=20.0)
    assert found == [None, None, whole, None]


def test_a_minute_ends_with_the_first_span_of_another() -> None:
    gathering = Gathering()
    gathering.add(span(until=25, seconds=20), 7.0)

    assert gathering.add(span(until=200, seconds=20), 9.0) == Minute(
        index=0, load=7.0, arrivals=0, late=0, span_s=20.0
    )


def test_the_service_time_follows_what_ends() -> None:
    service = Service()
    assert service.known == 1.0

    service.add(span(service_s=4.0, arrivals=1))
    assert service.known == 4.0
    for _ in range(20):
        service.add(span(service_s=8.0, arrivals=100))

    assert service.known == pytest.approx(8.0, rel=0.01)


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, anything, anything, anything, anything)
def test_what_cannot_be_is_left_out(
    seconds: float, load: float, arrivals: float, service_s: float, saturated: float
) -> None:
    fixed = sound(
        span(
            seconds=seconds, load=load, arrivals=arrivals, service_s=service_s, saturated=saturated
        )
    )

    assert 0 <= demand(fixed, 4.0) < math.inf
    assert fixed.seconds > 0
