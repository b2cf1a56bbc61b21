"""The benchmark of events: its bounds, its events, and the real thing for a moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import events
from libs.common.events.codec import encode
from services.analytics.received import Received, read_events

RIGHT = [
    {"what": "emit alone", "sink_us": 5.0},
    {"what": "10,000 events/s", "sink_us": 15.0},
    {"what": "as fast as they are stored", "per_core": 50_000.0},
    {"what": "the collector away", "grown_mb": 40.0},
]


def missed(rows: list[events.Row]) -> list[str]:
    return [row["bound"] for row in events.verdicts(rows) if row["verdict"] == "MISSED"]


@pytest.mark.parametrize("number", range(len(RIGHT)))
def test_each_bound_is_missed_by_what_breaks_it(number: int) -> None:
    assert missed(RIGHT) == []
    rows = [dict(row) for row in RIGHT]
    field = list(rows[number])[1]
    rows[number][field] *= 0.99 if field == "per_core" else 1.01

    assert missed(rows) == [f"{rows[number]['what']}: {field}"]


def test_its_events_are_usual_ones() -> None:
    made = list(events.several(100))
    messages = [encode(e, server="s", boot_epoch=1, sequence=n) for n, e in enumerate(made, 1)]

    received = read_events(b"".join(messages), first_sequence=1, count=100)

    assert isinstance(received, Received)
    assert len(received.at) == 100
    assert list(received) == [each.event() for each in made]


@pytest.mark.long
@pytest.mark.timeout(150)
def test_the_command_prints_a_table_and_writes_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_signals: None
) -> None:
    found = tmp_path / "found.json"
    events.main(["--seconds", "1", "--events", "5000", "--away", "5", "--json", str(found)])

    rows = json.loads(found.read_text())
    assert {row["what"] for row in rows} >= {row["what"] for row in RIGHT}
    assert "verdict" in capsys.readouterr().out
