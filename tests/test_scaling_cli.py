"""`constellation scale` and `constellation explain`, spoken to a running control."""

from __future__ import annotations

import argparse
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.common.catalog import Model, Scaling
from libs.common.errors import BadInput, UnknownModel
from libs.common.explanation import ScaleSnapshot
from libs.common.world_map import Colo, Decision, Override
from services.accounts_cli import known
from services.commands import _parser
from services.control import app
from services.control.service import Control
from services.moments import read_moment
from services.scaling_tables import explained

Say = Callable[[str], Coroutine[Any, Any, list[str]]]
MODEL = Model(
    name="@cf/demo/m", task="text-generation", aliases=("m",), scaling=Scaling(min=1, max=4)
)
CATALOG = (MODEL, Colo(name="ams", region="eu"), Colo(name="sfo", region="us"))
DECISION = Decision(
    model=MODEL.name,
    region="eu",
    at_ms=1_790_000_000_000,
    demand=6.5,
    forecast=11.2,
    running=2,
    required=3,
    desired=3,
    reason="a demand of 6.5, up to 11.2, needs 3; the minimum is 3",
    cause="tick",
    arrivals=90,
    late=1,
    service_s=4.0,
    min=3,
    max=4,
    slo_late_share=0.003,
    late_share=0.001,
    boot_s=12.5,
    price=0.5,
    probabilities=(0.1, 0.5, 0.9, 0.99),
    quantiles=(4.0, 6.4, 9.1, 12.9),
    weights={"ridge": 0.7, "added": 0.3, "rest": 0.0},
    placed=2,
)


@pytest.fixture
async def control(folder: Path) -> AsyncIterator[Control]:
    config = app.Config(state_dir=folder, listen="", token="mine")
    control = app.build(config, catalog=CATALOG)
    async with app.serve(config, control):
        yield control


@pytest.fixture
def say(control: Control, folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command and return the lines that it prints."""

    async def say(line: str) -> list[str]:
        parsed = _parser({"CONSTELLATION_STATE_DIR": str(folder)}).parse_args(shlex.split(line))
        await parsed.run(parsed)
        return capsys.readouterr().out.splitlines()

    return say


async def overrides(control: Control) -> list[Override]:
    world = await known(control)  # type: ignore[arg-type]
    return list(world.table(Override).values())


async def test_bounds_are_written_added_to_and_cleared(control: Control, say: Say) -> None:
    head, eu = await say("scale m --min 2 --region eu --for 2h")

    (made,) = await overrides(control)
    assert (made.model, made.region, made.min, made.max) == (MODEL.name, "eu", 2, None)
    assert 7_100 < made.expires_at_ms / 1000 - time.time() < 7_201
    assert head.split() == ["region", "min", "max", "running", "desired", "override"]
    assert eu.startswith("eu      2    4    -        -        min 2 until 20")

    await say("scale m --max 3 --freeze --region eu")
    (made,) = await overrides(control)
    assert (made.min, made.max, made.frozen) == (2, 3, True)
    assert made.expires_at_ms

    await say("scale m --clear --region eu")
    assert await overrides(control) == []


async def test_a_number_is_both_bounds_and_a_dry_run_changes_nothing(
    control: Control, say: Say
) -> None:
    *_, us = await say("scale m 3 --dry-run")

    assert await overrides(control) == [Override(model=MODEL.name, min=3, max=3, dry_run=True)]
    assert us == "us      3    3    -        -        min 3, max 3, dry run"


async def test_what_an_override_says_is_taken_back_one_by_one(control: Control, say: Say) -> None:
    await say("scale m --min 2 --freeze --dry-run --for 2h")

    await say("scale m --for always")
    assert [each.expires_at_ms for each in await overrides(control)] == [0]

    await say("scale m --no-freeze")
    assert await overrides(control) == [Override(model=MODEL.name, min=2, dry_run=True)]

    await say("scale m --no-dry-run")
    assert await overrides(control) == [Override(model=MODEL.name, min=2)]


async def test_without_flags_it_only_shows(control: Control, say: Say) -> None:
    await control.put(DECISION)

    (_, eu) = await say("scale m --region eu")

    assert await overrides(control) == []
    assert eu.split(maxsplit=4) == ["eu", "1", "4", "2", "3 (2 have room)  -"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("scale m 3 --min 2", "give a number of instances, or --min and --max"),
        ("scale m --min 5 --max 4", "a minimum of 5 is above the maximum, 4"),
        ("scale m 1 --region mars", "no colo is in region 'mars'; there are: eu, us"),
        ("explain m", "nothing was decided about m yet"),
        ("explain m --at 10m", "nothing was decided about m by then, that is still known"),
    ],
)
async def test_what_makes_no_sense_is_said(say: Say, line: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        await say(line)

    assert str(refused.value) == why


@pytest.mark.parametrize("line", ["scale nothing", "explain nothing"])
async def test_an_unknown_model_is_said(say: Say, line: str) -> None:
    with pytest.raises(UnknownModel, match="no such model: nothing"):
        await say(line)


async def test_a_decision_is_explained(control: Control, say: Say) -> None:
    await control.put(DECISION)

    lines = {line[:15].strip(): line[16:].strip() for line in await say("explain m")}

    assert lines["model"] == "@cf/demo/m in eu"
    assert lines["at"].endswith("(tick)")
    assert lines["last minute"].startswith("demand 6.5, 90 requests, 1 late, 4.00 s each")
    assert lines["demand to come"] == "0.5: 6.4  0.9: 9.1  0.99: 12.9"
    assert lines["forecast by"] == "ridge 70%  added 30%"
    assert lines["late requests"].startswith("0.30% allowed, 0.10% expected")
    assert lines["desired"] == "3 (2 have room)"
    assert lines["why"] == DECISION.reason


def test_the_last_snapshots_of_a_region_stand_below_its_decision() -> None:
    snapshots = [
        ScaleSnapshot(model="m", region=region, at_ms=1000 * at, queue_length=at, replica_count=2)
        for at in range(20)
        for region in ("eu", "us")
    ]

    *_, queue, instances = explained(DECISION, snapshots).splitlines()

    assert queue.startswith("queue           8 9 10 11 12 13 14 15 16 17 18 19 (the last: ")
    assert instances.split() == ["instances", *["2"] * 12]
    assert "queue " not in explained(DECISION)


async def test_decisions_are_listed_and_given_whole(control: Control, say: Say) -> None:
    await control.put(DECISION)
    await control.put(replace(DECISION, region="us", is_held=True, placed=2))

    _, eu, us = await say("explain m --last 5")
    assert " ".join(eu.split()[2:]) == "eu tick 6.5 2 3 3 (2 have room) the minimum is 3"
    assert "3 (held at 2)" in us

    found = orjson.loads("\n".join(await say("explain m --json --region eu")))
    assert found["decisions"][0]["quantiles"] == [4.0, 6.4, 9.1, 12.9]


@pytest.mark.parametrize(
    ("now", "text", "moment"),
    [
        ("2026-10-25T12:00+01:00", "01:30", "2026-10-25T01:30+02:00"),
        ("2026-10-25T12:00+01:00", "03:30", "2026-10-25T03:30+01:00"),
        ("2026-10-25T12:00+01:00", "12:30", "2026-10-24T12:30+02:00"),
        ("2026-03-29T12:00+02:00", "01:30", "2026-03-29T01:30+01:00"),
        ("2026-03-29T12:00+02:00", "12:30", "2026-03-28T12:30+01:00"),
        ("2026-11-27T12:00+01:00", "00:00", "2026-11-27T00:00+01:00"),
    ],
)
def test_a_time_of_day_is_that_of_its_day_also_where_summer_time_begins_or_ends(
    monkeypatch: pytest.MonkeyPatch, now: str, text: str, moment: str
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromisoformat(now).astimezone(tz)

    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        patch.setattr("services.moments.datetime", Clock)
        found = read_moment(text)
    time.tzset()

    assert found == datetime.fromisoformat(moment).timestamp() * 1000


@pytest.mark.parametrize("command", ["usage", "explain"])
def test_the_times_that_the_help_gives_as_examples_are_read(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _parser({}).parse_args([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())

    examples = re.search(r"(\S+), (\S+), or (\S+) for ten minutes ago", told)
    assert examples
    for each in (*examples.groups(), "7d ago"):
        assert read_moment(each) > 0


def test_moments_are_times_of_day_dates_or_how_long_ago() -> None:
    now = datetime.now().astimezone()
    ago = now - timedelta(minutes=1)

    assert read_moment("2026-11-27T09:30Z") == 1_795_771_800_000
    assert read_moment("2026-11-27T10:30+01:00") == 1_795_771_800_000
    assert abs(read_moment("10m") / 1000 - (time.time() - 600)) < 5
    assert read_moment(f"{ago:%H:%M:%S}") == int(ago.replace(microsecond=0).timestamp() * 1000)
    later = now + timedelta(minutes=5)
    assert datetime.fromtimestamp(read_moment(f"{later:%H:%M:%S}") / 1000, UTC) < now


@pytest.mark.parametrize("text", ["25:00", "soon", "2026-13-01", "10x", ""])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time like 09:30"):
        read_moment(text)
