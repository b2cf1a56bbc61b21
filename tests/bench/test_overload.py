"""The overload: its verdicts, and the real thing for a few seconds."""

from __future__ import annotations

import pytest

from bench import overload
from bench.overload import CAPACITY, OFFERS, verdicts
from bench.overload_load import Tally


def fair(seconds: float) -> dict[str, Tally]:
    """Return what all get where everything is as it should be."""
    return {
        name: Tally(
            permits=round(CAPACITY * seconds * overload.due(name)),
            waits=[1.6],
            rejections=[0.001],
        )
        for name in OFFERS
    }


def missed(tallies: dict[str, Tally]) -> list[str]:
    return [each["bound"] for each in verdicts(tallies, 10) if each["verdict"] != "kept"]


def test_what_is_fair_keeps_all_bounds() -> None:
    assert missed(fair(10)) == []


def test_each_bound_is_missed_by_what_breaks_it() -> None:
    little, late, slow, unfair, failing = (fair(10) for _ in range(5))
    for each in little.values():
        each.permits = each.permits * 9 // 10
    late["double"].waits.append(9.0)
    for each in slow.values():
        each.rejections = [0.02]
    unfair["flood"].permits += 40
    unfair["double"].permits -= 40
    failing["large"].failed = 1

    assert missed(little) == ["goodput / capacity, at least"]
    assert missed(late) == ["double: wait p99 s"]
    assert missed(slow) == ["median rejection ms"]
    assert {"flood: share off by", "double: share off by"} <= set(missed(unfair))
    assert missed(failing) == ["failed otherwise"]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_short_overload_is_shared_by_weight(
    capsys: pytest.CaptureFixture[str], kept_signals: None
) -> None:
    overload.main(["--seconds", "8", "--warm-seconds", "3"])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    shares = {line[0]: float(line[5]) for line in lines if line and line[0] in OFFERS}
    # Not the verdict: beside other tests answers may well be late.
    assert shares == {name: pytest.approx(overload.due(name), abs=0.05) for name in OFFERS}
