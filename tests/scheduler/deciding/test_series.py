"""A series from what it is told to what it wants."""

from __future__ import annotations

import pytest

from services.scheduler.deciding import Decision, Series, Situation, Span


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
    assert made.load == pytest.approx(80)


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
