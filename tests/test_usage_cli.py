"""`constellation usage`: what it takes, what it asks, and what it prints."""

from __future__ import annotations

import argparse
import asyncio
import csv
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from libs.common.events.sinks import UnixSocketSink
from libs.common.usage import UsageGroup, UsageRow
from services.analytics.app import Config, build, serve
from services.usage_cli import add_arguments, print_usage
from services.usage_table import as_table
from tests.analytics.support import HOUR_MS, MODEL, event

ROOT = Path(__file__).parents[1]


def parsed(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(flags)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    """Analytics that has some events; yields its address."""
    config = Config(state_dir=folder)
    async with serve(config, build(config, registry=CollectorRegistry())) as (address,):
        async with UnixSocketSink(config.events_socket, server="ams", boot_epoch=1) as sink:
            sink.emit(event(1))
            sink.emit(event(2, error_code=3040, account_id="other"))
            sink.emit(event(3, model_id="b", timestamp_ms=2_000 * HOUR_MS))
            await sink.flush(5)
        yield address


async def test_a_table_has_a_line_for_each_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(folder) as address:
        await print_usage(address, parsed())

    head, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:6] == ["model", "requests", "errors", "error_rate", "neurons", "cost_usd"]
    assert first[:6] == [MODEL, "2", "1", "50.0%", "3.0", "0.000033"]
    assert second[:3] == ["b", "1", "0"]


async def test_json_and_csv_have_all_values(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(folder) as address:
        await print_usage(address, parsed("--json", "--by", "hour,error_code", "--model", "b"))
        (row,) = orjson.loads(capsys.readouterr().out)
        await print_usage(address, parsed("--csv", "--by", "account", "--account", "other"))
        (line,) = csv.DictReader(capsys.readouterr().out.splitlines())

    assert (row["hour"], row["error_code"], row["tokens_in"]) == ("1970-03-25T08:00:00Z", 0, 3)
    assert (line["account"], line["requests"], line["errors"]) == ("other", "1", "1")


async def test_a_range_leaves_out_what_is_not_in_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(folder) as address:
        await print_usage(address, parsed("--json", "--from", "1970-03-01T00:00Z"))
        later = orjson.loads(capsys.readouterr().out)
        await print_usage(address, parsed("--json", "--to", "1970-03-01T00:00Z"))
        sooner = orjson.loads(capsys.readouterr().out)

    assert [row["model"] for row in later] == ["b"]
    assert [row["model"] for row in sooner] == [MODEL]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--by", "day"], "expected one or more of model, hour"),
        (["--by", ""], "expected one or more of model, hour"),
        (["--from", "yesterday"], "expected a time like 09:30"),
        (["--to", "25:00"], "expected a time like 09:30"),
        (["--to", "1960-01-01T00:00Z"], "expected a time like 09:30"),
        (["--watch", "0"], "expected seconds, 0.1 to 3600"),
        (["--watch", "often"], "expected seconds, 0.1 to 3600"),
        (["--json", "--csv"], "not allowed with"),
        (["--csv", "--watch"], "not allowed with"),
    ],
)
def test_a_bad_value_is_told_with_what_would_be_right(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(*flags)

    assert told in capsys.readouterr().err


def test_numbers_stand_to_the_right_and_names_to_the_left() -> None:
    rows = [
        UsageRow(model="a", error_code=3040, requests=1_000, errors=1_000),
        UsageRow(model="long", requests=1, p99_ms=12.34),
    ]

    lines = as_table(rows, (UsageGroup.MODEL, UsageGroup.ERROR_CODE)).splitlines()

    assert lines[1].startswith("a      3040            1000    1000      100.0%")
    assert lines[2].startswith("long   0                  1       0        0.0%")


async def test_watching_goes_on_until_it_is_interrupted(folder: Path) -> None:
    async with running(folder):
        command = [sys.executable, "-m", "services.cli", "usage", "--watch", "0.1"]
        process = subprocess.Popen(
            [*command, "--state-dir", str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        shown = await asyncio.to_thread(_lines, process, 7)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate, None, 30)

    assert [line.split()[:2] for line in shown[:3]] == [
        ["model", "requests"],
        [MODEL, "2"],
        ["b", "1"],
    ]
    assert shown[4:7] == shown[:3]  # after an empty line
    assert (process.returncode, errors) == (130, "")


async def test_an_interrupt_that_comes_with_an_answer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupts = 1

    async def answered_as_grpcio_does(*_: object) -> list[UsageRow]:
        nonlocal interrupts
        if interrupts:
            interrupts -= 1
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        return []

    monkeypatch.setattr("libs.common.clients.usage.UsageClient.query", answered_as_grpcio_does)
    watching = asyncio.create_task(print_usage("unix:/nowhere", parsed("--watch", "0.1")))
    await asyncio.wait([watching], timeout=2)
    was_heard = watching.cancelled()
    watching.cancel()

    assert was_heard


def _lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    deadline = time.monotonic() + 20
    lines = [process.stdout.readline().rstrip("\n") for _ in range(count)]
    assert time.monotonic() < deadline
    return lines
