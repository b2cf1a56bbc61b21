"""`constellation simulate` with a fixed fleet, with engines, and with boots that vary and fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services import commands


def make_trace(path: Path, *, busy: range, minutes: int = 60, tokens: str = ",") -> Path:
    """240 requests in busy minutes, 24 in others."""
    counts = [240 if minute in busy else 24 for minute in range(minutes)]
    lines = [f"{60 * minute},{count},{tokens}" for minute, count in enumerate(counts)]
    path.write_text("\n".join(["t,requests,mean_in_tokens,mean_out_tokens", *lines]) + "\n")
    return path


@pytest.fixture
def early(tmp_path: Path) -> Path:
    return make_trace(tmp_path / "early.csv", busy=range(45))


@pytest.fixture
def late(tmp_path: Path) -> Path:
    return make_trace(tmp_path / "late.csv", busy=range(45, 60))


def simulated(file: Path, *arguments: object) -> dict[str, Any]:
    commands.run(["simulate", *map(str, arguments), "--json", str(file)])
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def said(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        commands.run(["simulate", *map(str, arguments)])
    return str(caught.value)


def test_models_share_a_fleet(
    early: Path, late: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--nodes", 5, "--policy", "static,hpa,ours,clairvoyant", "--png", tmp_path / "a.png")

    found = simulated(tmp_path / "out.json", "--trace", early, "--trace", late, *options)

    by_policy = {each["policy"]: each for each in found["fleet"]}
    assert by_policy["clairvoyant"]["ratio_to_clairvoyant"] == 1
    assert by_policy["static"]["ratio_to_clairvoyant"] < 0.9  # who comes first has all the places
    assert by_policy["ours"]["ratio_to_clairvoyant"] > 0.85
    assert all(each["used_share"] <= 1 for each in by_policy.values())
    assert [(each["policy"], each["trace"]) for each in found["results"]][:2] == [
        ("static", "early"),
        ("static", "late"),
    ]
    assert found["over_committed"] > 1
    ratios: dict[str, list[float]] = {}
    for each in found["results"]:
        ratios.setdefault(each["policy"], []).append(each["ratio_to_clairvoyant"])
    assert ratios["clairvoyant"] == [1, 1]
    assert ratios["static"][0] < 0.5 < 0.9 < ratios["static"][1]
    assert all(
        min(ratios[name]) <= each["ratio_to_clairvoyant"] <= max(ratios[name])
        for name, each in by_policy.items()
    )
    shown = capsys.readouterr().out
    assert "5 places, over-committed" in shown
    assert "work served in time" in shown
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_longer_trace_is_cut(early: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("\n".join(early.read_text().splitlines()[:31]) + "\n")
    options = ("--nodes", 9, "--policy", "static", "--no-timing")

    found = simulated(tmp_path / "out.json", "--trace", early, "--trace", short, *options)

    hours = [each["instance_hours"] for each in found["results"]]
    assert hours == pytest.approx([hours[0], hours[0]], rel=0.5)
    assert max(hours) < 9 * 0.25  # a quarter of an hour counts
    assert "decision_p99_ms" not in found["fleet"][0]


def test_engines_take_the_place_of_service_times(tmp_path: Path) -> None:
    trace = make_trace(tmp_path / "texts.csv", busy=range(8, 18), minutes=20, tokens="800,150")

    easy, hard = (
        simulated(
            tmp_path / "out.json",
            "--trace",
            trace,
            "--policy",
            "static",
            "--engine",
            "--ttft",
            ttft,
        )
        for ttft in (5, 0.1)
    )

    assert easy["conditions"]["engine"]["ttft_s"] == 5
    assert easy["results"][0]["late_share"] < 0.05
    assert hard["results"][0]["late_share"] > 0.3  # 800 tokens take as long


def test_boots_that_vary_and_fail_make_more_late(late: Path, tmp_path: Path) -> None:
    options = ("--trace", late, "--policy", "hpa,clairvoyant", "--boot", 60)

    sure = simulated(tmp_path / "out.json", *options)["results"]
    unsure = simulated(tmp_path / "out.json", *options, "--boot-cv", 0.5, "--boot-failures", 0.5)[
        "results"
    ]

    assert unsure[0]["late_share"] > sure[0]["late_share"]
    assert unsure[1] == sure[1]  # who knows it all has boots that take what they should


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--nodes", 1), "--nodes: expected at least 2: --min 1 for each of 2 traces; got 1"),
        (("--ttft", 1, "--itl", 1), "--ttft, --itl: expected only with --engine"),
    ],
)
def test_what_is_wrong_is_one_line(
    early: Path, late: Path, options: tuple[object, ...], line: str
) -> None:
    assert said("--trace", early, "--trace", late, *options) == f"constellation: {line}"


def test_a_fleet_has_its_traces_named(tmp_path: Path) -> None:
    line = said("--nodes", 5, "--choose", tmp_path, "--apply", tmp_path)

    assert line == "constellation: --nodes: expected with --trace, not with --choose and --apply"
