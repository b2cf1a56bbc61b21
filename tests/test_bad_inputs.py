"""Bad input over real sockets: each refused with its own code, nothing logged, memory flat."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

import orjson
import pytest

from tests.bad_inputs import MOST_BYTES, Case, cases
from tests.entry.fakes import FakeServer, listening, says

CASES = cases()
ANSWER_S = 10.0
KEPT_BLOCKS = 2.0  # for each request, of what Python has allocated; leaks show as dozens


async def answered(address: str, raw: bytes) -> tuple[int, int]:
    """Send bytes, and return the status and the code that come back."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        body = await reader.readexactly(length)
        writer.close()
    error = orjson.loads(body)["errors"][0]
    assert error["message"], raw
    return status, error["code"]


async def wrongly(address: str, some: list[Case]) -> list[str]:
    """Return the cases that were not refused as they should be."""
    found = []
    for name, raw, status, code in some:
        try:
            was = await answered(address, raw)
        except (OSError, ValueError, LookupError, asyncio.IncompleteReadError) as error:
            found.append(f"{name}: {error!r}")
            continue
        if was != (status, code):
            found.append(f"{name}: expected {status} {code}, was {was[0]} {was[1]}")
    return found


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200
    assert all(400 <= status < 500 or status in (501, 505) for _, _, status, _ in CASES)


@pytest.mark.timeout(180)
async def test_each_is_refused_with_its_own_code_and_nothing_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = FakeServer(says("never"))
    async with listening(server, max_body_bytes=MOST_BYTES) as bound:
        assert await wrongly(bound.http, CASES) == []
        await wrongly(bound.http, CASES)  # caches are filled
        gc.collect()
        before = sys.getallocatedblocks()
        assert await wrongly(bound.http, CASES) == []
        gc.collect()
        kept = (sys.getallocatedblocks() - before) / len(CASES)

    assert kept <= KEPT_BLOCKS
    assert server.requests == []  # no model was asked
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
