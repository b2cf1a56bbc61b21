"""The run under a load that doubles and halves: what is told of it, and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.scaling import MODEL, Found, parser, row, told
from bench.scaling_load import Call
from libs.common.explanation import Explanation
from libs.common.world_map import Decision

BEGAN = 1_000.0


def decision(at_s: float, running: int) -> Decision:
    return Decision(
        model=MODEL,
        region="local",
        at_ms=int(1000 * (BEGAN + at_s)),
        demand=4.0,
        forecast=6.0,
        running=running,
        required=3,
        desired=3,
        reason="a demand of 4.0, up to 6.0, needs 3",
    )


def found(*statuses: int) -> Found:
    calls = [
        Call(at_s=10.0 * number, status=status, first_s=0.1 + number, took_s=2.0)
        for number, status in enumerate(statuses)
    ]
    decisions = (decision(70, 4), decision(50, 2), decision(10, 1))
    return Found(
        began=BEGAN,
        step_s=60.0,
        loads=(3.0, 6.0),
        calls=calls,
        told=Explanation(decisions=decisions),
    )


def test_a_step_is_told_by_its_calls_and_decisions() -> None:
    first = row(found(200, 200, 429), 0)

    assert (first["calls"], first["failed"], first["instances"]) == ("3", "1", "1 to 2")
    assert first["late %"] == pytest.approx(200 / 3)
    assert first["longest wait s"] == 2.1
    assert row(found(200), 1)["calls"] == "0"


@pytest.mark.parametrize(("statuses", "code"), [((200, 200), 0), ((200, 0), 1), ((429,), 1)])
def test_a_call_that_failed_makes_the_exit_code_1(
    statuses: tuple[int, ...], code: int, tmp_path: Path
) -> None:
    chart, document = tmp_path / "found.png", tmp_path / "found.json"
    arguments = parser().parse_args(["--png", str(chart), "--json", str(document)])

    assert told(found(*statuses), arguments) == code
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert document.stat().st_size > 100
