"""Request bodies: how they may be encoded, and that nobody waits for one that does not come."""

import asyncio
import gzip
import zlib
from contextlib import AsyncExitStack

import orjson
import pytest

from tests.entry.asking import AUTH, ask, posting
from tests.entry.fakes import FakeServer, listening, says

BODY = b'{"prompt": "hi"}'
BARE = zlib.compressobj(wbits=-15)
ENCODED_BODIES = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "deflate": ("Deflate", zlib.compress(BODY)),
    "bare deflate": ("deflate", BARE.compress(BODY) + BARE.flush()),
    "none": ("identity", BODY),
    "mislabelled": ("utf-8", BODY),
}


@pytest.mark.parametrize(("encoding", "data"), ENCODED_BODIES.values(), ids=ENCODED_BODIES.keys())
async def test_a_body_may_be_encoded(encoding: str, data: bytes) -> None:
    headers = AUTH | {"Content-Encoding": encoding}

    asked = await ask(FakeServer(says("ho")), data=data, headers=headers)

    assert asked.status == 200, asked.body


async def test_half_a_body_is_not_waited_for() -> None:
    async with (
        asyncio.timeout(3),
        listening(FakeServer(), body_s=0.05) as bound,
        posting(bound.http, BODY[:5], length=len(BODY)) as reader,
    ):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"x-should-retry: false" in head
    assert orjson.loads(body)["errors"][0]["code"] == 3007


async def test_leaving_waits_for_no_half_body() -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(3):
        async with listening(FakeServer(), drain_s=20.0) as bound:
            half = posting(bound.http, BODY[:5], length=len(BODY))
            reader = await stack.enter_async_context(half)
            await asyncio.sleep(0.1)
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in answer
