"""That `constellation bench usage` asks what it says, of events that are all there."""

from __future__ import annotations

import pytest

from bench import usage
from libs.common.events.values import InferenceEvent


def test_events_are_spread_over_the_days() -> None:
    events = [
        each
        for batch in usage.batches(5_000, days=2, accounts=3)
        for each in batch.events
        if isinstance(each, InferenceEvent)
    ]

    times = [each.timestamp_ms for each in events]
    assert times == sorted(times)
    assert usage.NOW_MS - 2 * usage.DAY_MS <= times[0] < times[-1] < usage.NOW_MS
    assert len({each.account_id for each in events}) == 3
    assert len({each.request_id for each in events}) == 5_000


def test_each_question_is_answered_from_events_and_from_roll_ups(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage.main(["--events", "500", "--days", "1", "--rounds", "1"])

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("500 events of 1 days: ")
    assert told[1].startswith("rolled up in ")
    assert [line.split("  ")[0] for line in told[4:]] == [*usage.QUESTIONS, "the last 50 requests"]
