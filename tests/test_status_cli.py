"""`constellation status` and `constellation doctor`: what they print, and their exit codes."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.common.process import EventsWaiting, Peer
from libs.common.world_map import Colo, Instance, Node, Resource
from services.control import app
from services.doctor.checks import CHECKS, examine
from services.doctor.facts import Facts, Finding
from services.doctor.text import as_text
from services.quantities import ago, size
from services.status_cli import _doctor, _look, _status
from services.status_tables import screen
from tests.doctor.facts import (
    DECISION,
    INSTANCE,
    LOAD,
    MODEL,
    NODE,
    PROCESS,
    SERVER,
    facts,
    status,
    world,
)

CONFIG = Path(__file__).parents[1] / "config"
LONG = "@cf/organisation-with-a-long-name/model-with-a-long-name-70b-instruct-fp8"


def flags(state_dir: Path, **more: Any) -> argparse.Namespace:
    given = {"state_dir": state_dir, "config": CONFIG, "control": "", "json": False}
    return argparse.Namespace(**(given | {"watch": None, "all": False} | more))


def shown(known: Facts, **more: bool) -> list[str]:
    return screen(known, examine(known), **more).splitlines()


def line(lines: Sequence[str], words: str) -> str:
    """The line that begins with words, with single spaces."""
    every = [" ".join(each.split()) for each in lines]
    (found,) = (each for each in every if each.startswith(words))
    return found


def test_a_cluster_that_is_well_is_one_screen() -> None:
    lines = shown(facts())

    assert lines[0] == "c:7100: healthy"
    assert line(lines, "control") == "control c1 - 1.0 2 h now active, 0 follow it"
    assert line(lines, "scheduler") == "scheduler c1 - 1.0 2 h now decided 60 s ago"
    assert line(lines, "entry") == "entry e1 ams 1.0 2 h now 0 refused"
    assert line(lines, "server") == "server s1 ams 1.0 2 h now 0/4 permits, 0 queued"
    assert line(lines, "node") == "node n1 ams 1.0 2 h now 1/1 instances"
    assert line(lines, "@cf/x/m") == "@cf/x/m 1/1 0 0 0/4 0"
    assert line(lines, "colos") == "colos ams (eu)"
    assert line(lines, "events") == "events 0 waiting, 0 on disk (0 B), 0 lost"
    assert len(lines) < 24


def test_what_is_wrong_is_told_in_a_line_each() -> None:
    waiting = EventsWaiting(waiting=7, spooled=5, spool_bytes=2 << 20, dropped=1, is_away=True)
    known = facts(
        status=status(
            replace(SERVER, process=replace(PROCESS, version="0.9", events=waiting)),
            replace(NODE, is_reporting=False, silent_s=700.0),
            mistakes=("x.yaml:1: no",),
            has_standby=True,
        ),
        world=world(replace(INSTANCE, state="failed", message="no weights")),
    )

    lines = shown(known)

    assert lines[0] == "c:7100: degraded"
    assert "active, one stands by" in line(lines, "control")
    assert line(lines, "node").startswith("node n1 ams 1.0 - 11 min ago")
    assert line(lines, "events") == "events 7 waiting, 5 on disk (2.0 MB), 1 lost"
    assert "2 versions: a rolling upgrade under way?" in line(lines, "versions")
    assert "x.yaml:1: no" in line(lines, "catalog")
    assert line(lines, "@cf/x/m").startswith("@cf/x/m 0/1 0 1")
    assert sum(each.startswith("! ") for each in lines) == 5
    assert lines[-1].endswith("findings: constellation doctor says why, and how to mend it")


def test_instances_of_a_silent_node_that_nobody_reaches_are_away() -> None:
    silent = Node(name=INSTANCE.node, colo=INSTANCE.colo, away_since_ms=1)

    lines = shown(facts(world=world(silent, replace(LOAD, endpoints=()))))

    assert line(lines, "@cf/x/m") == "@cf/x/m 0/1 0 0 0/4 0 1 away"


@pytest.mark.parametrize("everything", [False, True])
def test_many_and_long_names_fit_80_columns_unless_all_is_asked_for(everything: bool) -> None:
    nodes: list[Resource] = [Node(name=f"node-{n:03}", colo="ams") for n in range(50)]
    many = [replace(MODEL, name=f"{LONG}-{n:02}") for n in range(40)]
    busy = [replace(INSTANCE, id=f"i{each.name}", model=each.name) for each in many[:30]]
    peers = [Peer(kind="node", name=node.key, colo="ams", process=PROCESS) for node in nodes]
    known = facts(
        status=status(*peers),
        world=world(*nodes, *many, *busy, replace(LOAD, permits=4000, free=0, queued=120_000)),
    )

    lines = shown(known, everything=everything)

    if everything:
        assert sum("node-0" in each for each in lines) == 50
        assert sum(LONG in each for each in lines) == 40
    else:
        assert max(map(len, lines)) <= 80
        assert len(lines) < 60
        assert line(lines, "node and") == "node and 31 more: --all"
        assert "and 11 more, and 10 that sleep until they are called: --all" in lines
        assert line(lines, "@cf/x/m").endswith("4000/4000 120000")  # busy: first


def test_an_older_control_is_told_by_what_the_world_says() -> None:
    lines = shown(facts(status=None))

    assert "older" in line(lines, "control")
    assert line(lines, "server").startswith("server s1 ams - - -")


def test_colos_that_nobody_uses_are_only_counted() -> None:
    lines = shown(facts(world=world(Colo(name="lhr", region="eu"), Colo(name="iad"))))

    assert line(lines, "colos") == "colos ams (eu), 2 with nothing in them"


def test_a_model_that_sleeps_is_only_counted() -> None:
    known = facts(world=world(replace(DECISION, desired=0), without=[Instance]))

    assert "and 1 that sleep until they are called: --all" in shown(known)
    assert "sleeps" in line(shown(known, everything=True), "@cf/x/m")


async def test_where_nothing_runs_status_ends_with_2_and_doctor_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        await _status(flags(folder))
    assert ended.value.code == 2
    assert "nothing runs in" in capsys.readouterr().err

    with pytest.raises(SystemExit) as ended:
        await _doctor(flags(folder))
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "! nothing runs in" in said
    assert "mend: constellation up" in said


async def test_a_control_without_services_is_degraded_and_told_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = app.Config(name="c1", state_dir=folder, listen="")
    async with app.serve(config, app.build(config, catalog=[Colo(name="ams")]), tick_s=60.0):
        text, code = await _look(flags(folder))
        assert (code, text.splitlines()[0]) == (1, f"unix:{folder}/control.sock: degraded")
        assert "! there is no entry" in text

        text, code = await _look(flags(folder, json=True))
        told = orjson.loads(text)
        assert (code, told["health"], told["status"]["name"]) == (1, "degraded", "c1")
        assert [each["what"] for each in told["findings"]][:1] == ["there is no entry"]

        looking = asyncio.create_task(_status(flags(folder, watch=0.05)))
        seen = ""
        async with asyncio.timeout(30):
            while seen.count("degraded") < 2:
                await asyncio.sleep(0.05)
                seen += capsys.readouterr().out
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def test_doctors_text_says_what_why_and_how_in_80_columns() -> None:
    findings = [
        Finding(what="word " * 40, why="because", mend="constellation up"),
        Finding(what="small", why="because", mend="nothing", is_grave=False),
    ]

    lines = as_text(findings, control="c:7100", checks=len(CHECKS), width=80).splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("1. ! word word")
    assert "   mend: constellation up" in lines
    assert "2. - small" in lines
    assert lines[-1] == f"c:7100: {len(CHECKS)} checks, 2 findings, 1 grave"
    assert "nothing found" in as_text([], control="c", checks=1, width=80)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.9, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (1e6, "11 d")],
)
def test_times_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (20 << 30, "20 GB")]
)
def test_sizes_are_told_in_their_largest_unit(count: int, text: str) -> None:
    assert size(count) == text
