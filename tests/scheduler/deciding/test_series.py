"""A series from what it is told to what it wants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.deciding import Decision, Series, Situation, Span, keeping

any_number = st.floats(allow_nan=True, allow_infinity=True)


def now(at: float, *, low: int = 1, high: int = 1000) -> Situation:
    return Situation(at=at, ready=1, booting=0, permits=8, boot_s=120.0, min=low, max=high)


def steady(series: Series, load: float, *, minutes: int, start: int = 0) -> Decision:
    for minute in range(start, start + minutes):
        for part in range(12):
            until = minute * 60.0 + (part + 1) * 5
            series.observe(
                Span(until=until, seconds=5, load=load, arrivals=load * 5 / 4, service_s=4.0)
            )
        made = series.decide(now(until))
    return made


def test_a_steady_load_gets_room_for_chance_and_not_more() -> None:
    made = steady(Series(), 80.0, minutes=5)

    assert 11 <= made.instances <= 24
    assert made.load == pytest.approx(80, rel=1e-3)


def test_a_jump_between_two_minutes_is_seen_by_the_floor() -> None:
    series = Series()
    before = steady(series, 8.0, minutes=5)
    for until in (305.0, 310.0):
        series.observe(Span(until=until, seconds=5, load=80.0, arrivals=100, service_s=4.0))

    made = series.floor(now(310.0))

    assert before.instances < 10 <= made.instances
    assert made.reasons == ("the last 10 s had 80.0",)


def test_what_was_kept_decides_as_the_one_that_kept_it() -> None:
    series = Series()
    steady(series, 40.0, minutes=5)

    again = Series.from_bytes(series.to_bytes())

    assert again.decide(now(300.0)) == series.decide(now(300.0))


def test_bytes_that_are_no_series_are_refused() -> None:
    with pytest.raises(ValueError, match="no kept series"):
        Series.from_bytes(b"damaged")


def test_bytes_without_a_part_are_refused() -> None:
    with pytest.raises(ValueError, match="without 'service'"):
        Series.from_bytes(keeping.pack({}))


def test_bytes_of_another_format_are_refused() -> None:
    with pytest.raises(ValueError, match="another format"):
        Series.from_bytes(keeping.pack({"format": np.array(99)}))


def test_an_idle_model_with_a_keep_alive_goes_and_comes_back_with_a_call() -> None:
    series = Series()

    def instances(at: float, arrivals: float) -> int:
        series.observe(Span(until=at, seconds=5, load=arrivals / 5, arrivals=arrivals))
        asked = replace(now(at, low=0), keep_alive_s=600.0)
        made = series.decide(asked) if at % 60 == 0 else series.floor(asked)
        return made.instances

    found = [instances(at, 1.0 if at in (300, 1500) else 0.0) for at in range(5, 3000, 5)]

    assert found[0] == 0
    assert all(each >= 1 for each in found[60 : 60 + 119])
    assert found[200] == 0
    assert found[300] >= 1


@pytest.mark.parametrize(
    ("kept", "current", "after_s", "instances"),
    [
        pytest.param(True, 1, 0, 1, id="a stale last call does not count against what is there"),
        pytest.param(True, 1, 59, 1, id="for the keep-alive's time"),
        pytest.param(True, 1, 61, 0, id="and no longer"),
        pytest.param(False, 1, 0, 1, id="nor does none at all"),
        pytest.param(False, 1, 61, 0, id="which goes as any other"),
        pytest.param(True, 5, 59, 5, id="what there is stays for the hold of damping"),
        pytest.param(False, 5, 59, 5, id="with no history, too"),
        pytest.param(True, 5, 61, 0, id="and is let go then"),
        pytest.param(True, 0, 0, 0, id="nothing is started for it"),
        pytest.param(False, 0, 0, 0, id="nor without a history"),
        pytest.param(True, 12, 0, 9, id="the maximum counts more"),
    ],
)
def test_a_new_life_begins_with_what_is_there(
    kept: bool, current: int, after_s: float, instances: int
) -> None:
    before = Series()
    before.observe(Span(until=60.0, seconds=60, load=0.1, arrivals=3, service_s=2.0))
    series = Series.from_bytes(before.to_bytes()) if kept else Series()
    asked = replace(now(327.0, low=0, high=9), boot_s=20.0, keep_alive_s=60.0, current=current)
    found = series.decide(asked)

    for at in range(5, int(after_s) + 5, 5):
        later = min(at, after_s)
        series.observe(Span(until=327.0 + later, seconds=5, load=0.0, arrivals=0.0))
        found = series.floor(replace(asked, at=327.0 + later, current=found.instances))

    assert found.instances == instances


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(any_number, any_number, any_number, any_number), min_size=1, max_size=80),
    st.integers(0, 5),
    st.integers(0, 50),
    st.floats(0, 1000),
)
def test_no_input_makes_it_leave_its_bounds(
    spans: list[tuple[float, float, float, float]], low: int, more: int, boot_s: float
) -> None:
    series = Series()
    asked = replace(now(0.0, low=low, high=low + more), boot_s=boot_s)
    for count, (load, arrivals, late, service_s) in enumerate(spans, start=1):
        series.observe(
            Span(
                until=count * 30.0,
                seconds=30.0,
                load=load,
                arrivals=arrivals,
                late=late,
                service_s=service_s,
                saturated=1.0,
            )
        )
        made = (series.decide if count % 2 else series.floor)(replace(asked, at=count * 30.0))
        assert low <= made.instances <= low + more
        assert all(math.isfinite(each) for each in (*made.quantiles, made.price, made.late_share))
    assert repr(Series.from_bytes(series.to_bytes()).forecast) == repr(series.forecast)


def test_a_queue_is_worked_off_by_more_than_the_load_needs() -> None:
    series = Series()
    steady(series, 8.0, minutes=5)
    for count in range(1, 13):
        series.observe(
            Span(
                until=300.0 + 5 * count,
                seconds=5,
                load=80.0 + 50 * count,
                arrivals=100,
                service_s=4.0,
                late=100,
                saturated=1.0,
            )
        )

    made = series.floor(now(360.0))

    assert made.instances > 2 * 80 / 8
    assert made.reasons[-1].endswith("work off the calls that wait, or waited just now")
    series.observe(Span(until=365.0, seconds=5, load=8.0, arrivals=10, service_s=4.0))
    assert series.floor(now(365.0)).instances == made.instances, "not gone as soon as the queue is"
