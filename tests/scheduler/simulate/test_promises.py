"""What `constellation simulate` promises of every policy: the same bytes, and the same maximum."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services import commands
from services.scheduler.simulate.families import NAMES
from services.scheduler.simulate.instances import Instances

HAND_MADE = ("--service-cv", "0", "--permits", "4", "--boot", "60", "--warmup-days", "0.001")
OVERSHOOT = {"hpa", "kpa", "ray", "queue"}  # scale on those who wait
MAXIMUM = 13  # 10 a second for 4 s are 40 in flight: 10 instances of 4 permits, and a quarter more


def make_trace(path: Path, *, tokens: str = ",", shift: int = 0) -> Path:
    """Twelve minutes of a load that swings."""
    counts = [round(150 * (1.2 + math.sin((minute + shift) / 2))) for minute in range(12)]
    lines = [f"{60 * minute},{count},{tokens}" for minute, count in enumerate(counts)]
    path.write_text("\n".join(["t,requests,mean_in_tokens,mean_out_tokens", *lines]) + "\n")
    return path


def in_a_process(arguments: list[str]) -> str:
    """What a process of its own prints, whose sets have another order."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
        timeout=50,
    ).stdout


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--policy", "all"), id="all policies"),
        pytest.param(("--policy", "hpa,ours,clairvoyant", "--engine"), id="engines"),
        pytest.param(
            ("--policy", "hpa,ours", "--boot-cv", "0.5", "--boot-failures", "0.3"),
            id="boots that vary and fail",
        ),
        pytest.param(("--policy", "all", "--nodes", "12"), id="a fleet"),
    ],
)
def test_the_same_seed_gives_the_same_bytes_in_another_process(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = [
        make_trace(tmp_path / f"{shift}.csv", tokens="400,80", shift=shift) for shift in (0, 6)
    ]
    asked = ["simulate", *(word for path in traces for word in ("--trace", str(path)))]
    asked += [*options, "--seed", "3", "--no-timing", "--json"]

    commands.run([*asked, str(tmp_path / "here.json")])
    printed = in_a_process([*asked, str(tmp_path / "there.json")])

    assert printed == capsys.readouterr().out
    assert (tmp_path / "here.json").read_bytes() == (tmp_path / "there.json").read_bytes()


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """One request each second, then ten."""
    lines = [f"{second},{1 if second < 900 else 10}" for second in range(1500)]
    path = tmp_path / "step.csv"
    path.write_text("\n".join(["t,requests", *lines]) + "\n")
    return path


def most_wanted(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The most instances that there should ever be."""
    most = 0
    scale = Instances.scale

    def watched(self: Instances, t: int, wanted: int, drain: object) -> None:
        nonlocal most
        most = max(most, wanted)
        scale(self, t, wanted, drain)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Instances, "scale", watched)
        commands.run(["simulate", *arguments])
    return most


@pytest.mark.parametrize("policy", [*NAMES])
def test_no_policy_has_more_than_a_quarter_above_the_true_peak(
    policy: str, step: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.scheduler.simulate.command.CLAIRVOYANT", policy)  # it alone
    asked = ("--trace", str(step), "--policy", policy, *HAND_MADE, "--json", str(tmp_path / "j"))

    most = most_wanted(monkeypatch, *asked)
    without = most_wanted(monkeypatch, *asked, "--max", "1000") if policy in OVERSHOOT else 0

    assert 10 <= most <= MAXIMUM
    if policy in OVERSHOOT:
        assert (most, without > MAXIMUM) == (MAXIMUM, True)
    conditions = json.loads((tmp_path / "j").read_bytes())["conditions"]
    assert conditions["maximum"] == (1000 if policy in OVERSHOOT else None)
