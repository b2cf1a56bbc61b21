"""What a soak calls growth, lateness and failure; and a short one of the real thing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench import soak
from bench.soak_look import Look, growth, lag, process_names


def looks(*values: float, what: str = "memory_mb") -> list[Look]:
    return [Look(at, {("up", what): value}) for at, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "what", "verdict"),
    [
        ((100, 100, 100, 100), "memory_mb", "flat"),
        ((50, 100, 101, 101.9), "memory_mb", "flat"),  # what comes at the start is no growth
        ((100, 100, 101, 102.1), "memory_mb", "GROWS"),
        ((10, 10, 10.5, 10.9), "memory_mb", "flat"),  # less than a megabyte is noise
        ((10, 10, 10, 13), "descriptors", "GROWS"),
        ((10, 10, 10, 12), "descriptors", "flat"),
        ((30, 10, 10, 10), "tasks", "flat"),
    ],
)
def test_growth_is_what_comes_on_top_after_the_start(
    values: tuple[float, ...], what: str, verdict: str
) -> None:
    (row,) = growth(looks(*values, what=what))

    assert row["verdict"] == verdict


def test_a_process_that_was_not_there_all_the_time_is_left_out() -> None:
    seen = looks(1, 1, 1, 1)
    seen[0] = Look(0, {**seen[0].numbers, ("stub 7", "memory_mb"): 5.0})

    assert [row["process"] for row in growth(seen)] == ["up"]


def page(within: int, looks: int) -> str:
    name = "constellation_event_loop_lag_seconds"
    return f'{name}_bucket{{le="0.005"}} {within}.0\n{name}_count {looks}.0\n'


@pytest.mark.parametrize(
    ("within", "bare", "verdict"),
    [(1999, 2000, "kept"), (1997, 2000, "MISSED"), (1997, 1998, "kept"), (1994, 1998, "MISSED")],
)
def test_lateness_is_that_of_the_time_between_two_pages_above_a_bare_loops(
    within: int, bare: int, verdict: str
) -> None:
    begin = page(100, 1000)

    row = lag((begin, begin), (page(100 + within, 3000), page(100 + bare, 3000)))

    assert (row["looks"], row["verdict"]) == (2000, verdict)
    assert row["of 1,000"] == pytest.approx(1000 - within / 2)
    assert row["a bare loop"] == pytest.approx(1000 - bare / 2)


def test_processes_have_names_that_people_know() -> None:
    assert str(os.getpid()) in process_names([os.getpid(), 2**22 + 1])[os.getpid()]


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("up")
def test_a_short_soak_finds_nothing_wrong(tmp_path: Path, kept_signals: None) -> None:
    file = tmp_path / "soak.json"

    soak.main(["--minutes", "0.2", "--warm-seconds", "3", "--json", str(file)])

    found = json.loads(file.read_text())
    # Not the verdict: beside other tests it may well be late, and memory has not settled yet.
    assert found["failed"] == {}
    assert found["left"]["verdict"] == "nothing left"
    assert found["answered"].keys() >= {"answer", "stream", "leave", "embed", "bad"}
    assert {row["what"] for row in found["growth"]} == {
        "memory_mb",
        "descriptors",
        "threads",
        "tasks",
    }
    assert found["lag"]["a bare loop"] < 1000
    grown = [row for row in found["growth"] if row["process"] == "up" and row["what"] == "tasks"]
    assert [row["verdict"] for row in grown] == ["flat"]
