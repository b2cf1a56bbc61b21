"""What aiokafka says while a broker is away: once in a while, and each thing."""

from __future__ import annotations

import logging

import pytest

from services.analytics.kafka import seldom
from services.analytics.kafka.seldom import Seldom, log_seldom


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, "file", 1, text, arguments, None)


def test_each_line_passes_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seldom_filter = [0.0], Seldom()
    monkeypatch.setattr(seldom.time, "monotonic", lambda: now[0])

    told = []
    for now[0], text in (
        (0, "away %s"),
        (1, "away %s"),
        (2, "closed"),
        (59, "away %s"),
        (60, "away %s"),
    ):
        told.append(seldom_filter.filter(record(text, now[0])))

    assert told == [True, False, True, False, True]


def test_it_holds_for_all_that_repeats_itself_and_however_often_it_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        log_seldom()

    for name in ("aiokafka", "aiokafka.producer.sender"):
        for number in range(3):
            logging.getLogger(name).error("a test of %s: %d", name, number)

    assert [each.args for each in caplog.records] == [("aiokafka", 0)]
