"""Cron's five fields: which minutes they mean, and what is said of those that mean none."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.cron import read_cron

FRIDAY = datetime(2026, 11, 27, 12, 34, 56)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2026-11-27 12:34"),
        ("0 9 * * *", "2026-11-27 09:00"),
        ("0 13 * * *", "2026-11-26 13:00"),
        ("*/20 * * * *", "2026-11-27 12:20"),
        ("35/10 8-10 * * *", "2026-11-27 10:55"),
        ("0 9 * * mon-fri", "2026-11-27 09:00"),
        ("0 9 * * 1-4", "2026-11-26 09:00"),
        ("0 9 * * 7", "2026-11-22 09:00"),
        ("0 9 * * SUN", "2026-11-22 09:00"),
        ("0 9 25,26 nov *", "2026-11-26 09:00"),
        ("0 9 24 * thu", "2026-11-26 09:00"),
        ("0 9 24 * */2", "2026-11-24 09:00"),
        ("0 9 1 dec *", None),
    ],
)
def test_the_last_time_before_a_friday_noon(text: str, expected: str | None) -> None:
    found = read_cron(text).last(FRIDAY, days=8)

    assert (found and f"{found:%Y-%m-%d %H:%M}") == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 9 * *", "expected five fields (minute, hour, day of the month, month, day of the"),
        ("60 9 * * *", "minute: expected *, or 0 to 59, got '60'"),
        ("0 nine * * *", "hour: expected *, or 0 to 23, got 'nine'"),
        ("0 9 0 * *", "day of the month: expected *, or 1 to 31, got '0'"),
        ("0 9 * nov-oct *", "month: 'nov-oct' ends before it begins"),
        ("0 9 * * 8", "day of the week: expected *, or 0 to 7, or sun to sat, got '8'"),
        ("*/0 9 * * *", "step of the minute: expected *, or 1 to 59, got '0'"),
        ("*/ 9 * * *", "step of the minute: expected *, or 1 to 59, got ''"),
        ("0 9 * * -1", "day of the week: expected *, or 0 to 7, or sun to sat, got ''"),
        ("1²  9 * * *", "minute: expected *, or 0 to 59, got '1²'"),
    ],
)
def test_what_means_no_time_is_refused_by_its_field(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"field|:") as refused:
        read_cron(text)

    assert str(refused.value).startswith(why)


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(0, 6),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
)
def test_a_weekly_time_is_never_more_than_a_week_ago(
    minute: int, hour: int, weekday: int, at: datetime
) -> None:
    found = read_cron(f"{minute} {hour} * * {weekday}").last(at, days=8)

    assert found is not None
    assert timedelta(0) <= at - found < timedelta(days=7)
    assert (found.minute, found.hour, found.isoweekday() % 7) == (minute, hour, weekday)
