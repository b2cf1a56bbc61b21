"""The access log: a line of JSON for each request, whatever became of it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry

from services.entry import access_log
from services.entry.access_log import AccessLog
from services.entry.metrics import EntryMetrics
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, FakeServer, listening, says

RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run"


def read(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def test_each_request_is_one_line_with_what_is_known_of_it(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with (
        listening(FakeServer(says("ho")), access_log=str(path)) as bound,
        ClientSession(f"http://{bound.http}", headers={"X-Auth-Key": SECRET}) as http,
    ):
        headers = {"x-request-id": "mine"}
        ran = await http.post(f"{RUN}/demo", json={"prompt": "words of mine"}, headers=headers)
        body = {"prompt": "x", "stream": True}
        await (await http.post(f"{RUN}/{TEXT}", json=body)).read()
        await http.post(f"{RUN}/none", json={"prompt": "x"})
        await http.get("/v1/models")

    whole, streamed, refused, listed = read(path)
    assert (
        whole.items()
        >= {
            "status": 200,
            "what": f"POST {RUN}/demo",
            "request_id": ran.headers["x-constellation-request-id"],
            "client_request_id": "mine",
            "account": ACCOUNT,
            "model": TEXT,
            "asked_for": "demo",
            "task": "text-generation",
            "stream": False,
            "tokens_in": 3,
            "tokens_out": 2,
            "served_in": "ams",
        }.items()
    )
    assert 0 < whole["duration_ms"] < 10_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", whole["time"])
    assert streamed.items() >= {"status": 200, "stream": True, "tokens_out": 2}.items()
    assert refused.items() >= {"status": 400, "code": 5007, "reason": "unknown_model"}.items()
    assert listed.items() >= {"status": 200, "what": "GET /v1/models"}.items()
    assert b"words of mine" not in path.read_bytes()
    assert SECRET.encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


async def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    metrics = EntryMetrics(CollectorRegistry())
    metrics.log = log

    metrics.end(metrics.begin("ams"), 200)
    log.flush()
    path.rename(tmp_path / "access.log.1")
    metrics.end(metrics.begin("ams"), 503)
    log.flush()

    assert [each["status"] for each in read(path)] == [503]


async def test_what_cannot_be_written_is_said_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(str(tmp_path / "no" / "folder"))
    metrics = EntryMetrics(CollectorRegistry())
    metrics.log = log

    metrics.end(metrics.begin("ams"), 200)
    log.flush()

    assert "1 lines of the access log are lost" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


async def test_lines_that_nobody_writes_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "MOST_LINES", 3)
    log = AccessLog(str(tmp_path / "access.log"))
    metrics = EntryMetrics(CollectorRegistry())
    metrics.log = log

    for _ in range(10):
        metrics.end(metrics.begin("ams"), 200)

    assert repr(log).endswith("waiting=3 lost=7>")
