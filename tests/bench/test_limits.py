"""Limits under two entries: the verdicts, and the real thing for a few seconds."""

from __future__ import annotations

import pytest

from bench import limits
from bench.limits import AT_FIRST, Tally, verdicts


def missed(tallies: list[Tally], may: float = 100.0) -> list[str]:
    return [each["bound"] for each in verdicts(tallies, may) if each["verdict"] != "kept"]


def test_each_bound_is_missed_by_what_breaks_it() -> None:
    right = [Tally(part, served=98) for part in AT_FIRST]

    assert missed(right) == []
    assert missed([*right, Tally(0.5, served=94)]) == ["shortfall of one account, at most"]
    assert missed([*right, Tally(0.5, served=107)]) == ["overshoot of one account, at most"]
    assert missed([*right, Tally(0.5, served=100, failed=1)]) == ["failed otherwise"]


@pytest.mark.long
@pytest.mark.timeout(150)
def test_two_entries_together_serve_what_accounts_may(
    capsys: pytest.CaptureFixture[str], kept_signals: None
) -> None:
    limits.main(["--seconds", "15", "--accounts", "6"])

    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line[:1].isdigit()]
    # Not the verdicts: in so short a time a call more or less is much.
    assert [float(row[4]) for row in rows] == [pytest.approx(30.0, abs=4.0)] * len(AT_FIRST)
    assert max(int(row[5]) for row in rows) <= 34
