"""Whose word counts for a model in a region, and when schedules and overrides hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.common.catalog import Bounds, Model, Scaling, Schedule
from libs.common.world_map import Override
from services.scheduler.controls import Controls, controls, expired, is_due

MODEL = Model(
    name="m",
    task="text-generation",
    scaling=Scaling(
        min=1,
        max=4,
        region={
            "eu": Bounds(min=2, slo_late_share=0.01),
            "us": Bounds(max=3, boot_s=40, keep_alive_s=0),
        },
    ),
)


def override(**fields: object) -> Override:
    return Override(model="m", **fields)  # type: ignore[arg-type]


def bounds(found: Controls) -> tuple[int, int]:
    return found.min, found.max


@pytest.mark.parametrize(
    ("region", "overrides", "expected"),
    [
        ("ap", [], (1, 4)),
        ("eu", [], (2, 4)),
        ("us", [], (1, 3)),
        ("eu", [override(min=3)], (3, 4)),
        ("eu", [override(region="eu", max=9), override(max=5)], (2, 9)),
        ("eu", [override(region="us", max=9)], (2, 4)),
        ("eu", [override(max=0)], (0, 0)),
        ("eu", [override(max=9, expires_at_ms=1000)], (2, 4)),
        ("eu", [override(max=9, expires_at_ms=1001)], (2, 9)),
        ("eu", [Override(model="other", max=9)], (2, 4)),
    ],
    ids=[
        "model",
        "region's min",
        "region's max",
        "override everywhere",
        "override of the region first",
        "another region's",
        "the maximum counts most",
        "expired",
        "not yet expired",
        "another model's",
    ],
)
def test_bounds(region: str, overrides: list[Override], expected: tuple[int, int]) -> None:
    assert bounds(controls(MODEL, region, overrides, now_ms=1000)) == expected


def test_aims_are_the_regions_where_it_has_its_own() -> None:
    eu, us = (controls(MODEL, region, [], now_ms=0) for region in ("eu", "us"))

    assert (eu.slo_late_share, eu.boot_s, eu.keep_alive_s) == (0.01, 5.0, None)
    assert (us.slo_late_share, us.boot_s, us.keep_alive_s) == (0.003, 40.0, 0.0)


@pytest.mark.parametrize("what", ["frozen", "dry_run"])
def test_an_override_holds_the_fleet_as_it_is(what: str) -> None:
    held = override(expires_at_ms=86_400_000, **{what: True})

    found = controls(MODEL, "eu", [held], now_ms=0)

    assert getattr(found, what)
    assert found.is_held
    assert found.why == "an override holds until 1970-01-02 00:00 UTC"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NINE = Schedule(cron="0 9 * * mon-fri", minutes=120, min=3)
BERLIN = Schedule(cron="0 9 * * *", minutes=60, min=3, timezone="Europe/Berlin")
ONE, THREE, HALF_PAST_TWO = (
    Schedule(cron=cron, minutes=minutes, min=3, timezone="Europe/Berlin")
    for cron, minutes in (("0 1 * * *", 120), ("0 3 * * *", 60), ("30 2 * * *", 60))
)
WEEK = Schedule(cron="0 0 * * mon", minutes=10080, min=2)


@pytest.mark.parametrize(
    ("schedule", "now", "ahead_s", "expected"),
    [
        (ONE, "2026-03-29 01:59", 0, True),
        (ONE, "2026-03-29 02:00", 0, False),
        (ONE, "2026-10-25 00:59", 0, True),
        (ONE, "2026-10-25 01:00", 0, False),
        (THREE, "2026-03-29 00:49", 600, False),
        (THREE, "2026-03-29 00:50", 600, True),
        (THREE, "2026-10-25 01:49", 600, False),
        (THREE, "2026-10-25 01:50", 600, True),
        (HALF_PAST_TWO, "2026-03-29 01:29", 0, False),
        (HALF_PAST_TWO, "2026-03-29 01:30", 0, True),
        (HALF_PAST_TWO, "2026-10-25 00:29", 0, False),
        (HALF_PAST_TWO, "2026-10-25 00:30", 0, True),
        (HALF_PAST_TWO, "2026-10-25 01:10", 0, True),
        (HALF_PAST_TWO, "2026-10-25 02:29", 0, True),
        (HALF_PAST_TWO, "2026-10-25 02:30", 0, False),
    ],
)
def test_clocks_are_put_forward_and_back(
    schedule: Schedule, now: str, ahead_s: float, expected: bool
) -> None:
    assert is_due(schedule, now_ms=at(now), ahead_s=ahead_s) is expected


@pytest.mark.parametrize(
    ("schedule", "now", "ahead_s", "expected"),
    [
        (NINE, "2026-11-27 08:57", 120, False),
        (NINE, "2026-11-27 08:58", 120, True),
        (NINE, "2026-11-27 10:59", 120, True),
        (NINE, "2026-11-27 11:00", 120, False),
        (NINE, "2026-11-28 09:30", 120, False),
        (BERLIN, "2026-11-27 08:30", 0, True),
        (BERLIN, "2026-07-27 08:30", 0, False),
        (BERLIN, "2026-07-27 07:30", 0, True),
        (WEEK, "2026-11-29 23:59", 0, True),
    ],
    ids=[
        "before",
        "a boot earlier",
        "to its end",
        "over",
        "on Saturday",
        "winter",
        "summer",
        "summer, an hour earlier",
        "a whole week",
    ],
)
def test_when_a_schedule_asks_for_instances(
    schedule: Schedule, now: str, ahead_s: float, expected: bool
) -> None:
    assert is_due(schedule, now_ms=at(now), ahead_s=ahead_s) is expected


def scheduled(*schedules: Schedule) -> Model:
    return Model(name="m", task="dumb-pipe", scaling=Scaling(max=4, schedules=schedules))


def test_the_schedule_that_asks_for_most_raises_the_minimum() -> None:
    model = scheduled(NINE, WEEK, Schedule(cron="* * * * *", minutes=1, min=9, region="us"))

    eu, us = (controls(model, region, [], now_ms=at("2026-11-27 09:30")) for region in ("eu", "us"))

    assert bounds(eu) == (3, 4)
    assert eu.why == "the schedule 0 9 * * mon-fri asks for 3"
    assert bounds(us) == (4, 4)


def test_an_override_of_the_minimum_goes_before_a_schedule() -> None:
    now = at("2026-11-27 09:30")

    assert bounds(controls(scheduled(NINE), "eu", [override(min=0)], now_ms=now)) == (0, 4)
    assert bounds(controls(scheduled(NINE), "eu", [override(max=2)], now_ms=now)) == (2, 2)


def test_overrides_whose_time_is_over_are_found() -> None:
    over, holds, forever = (override(expires_at_ms=each) for each in (1000, 1001, 0))

    assert list(expired([over, holds, forever], now_ms=1000)) == [over]
