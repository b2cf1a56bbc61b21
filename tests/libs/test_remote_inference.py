"""The client of a server in another process, when it is let go of with calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.common.clients.inference import INFER, STREAM_INFER, RemoteInference
from libs.common.errors import Unavailable
from libs.common.hops import ServerCall, Transport, connect, listening
from tests.fakes import a_request
from tests.streams import parts_of


@asynccontextmanager
async def asked(
    kind: str, transport: Transport
) -> AsyncIterator[tuple[RemoteInference, asyncio.Task[None]]]:
    """A client, and a call of it that nobody will answer."""
    reached = asyncio.Event()

    def never(call: ServerCall, message: bytes) -> None:
        reached.set()

    handlers = {INFER.path: never, STREAM_INFER.path: never}
    async with listening("127.0.0.1:0", handlers, transport=transport, drain_s=0.1) as address:
        client = RemoteInference(address, connect(address, transport=transport))

        async def call() -> None:
            if kind == "unary":
                await client.infer(a_request())
            else:
                async for _ in parts_of(client, a_request(stream=True)):
                    pass

        task = asyncio.create_task(call())
        await asyncio.wait_for(reached.wait(), 5)
        try:
            yield client, task
        finally:
            await client.close()


@pytest.mark.parametrize("transport", ["lean", "grpcio"])
@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_in_flight_ends_as_unavailable_when_its_client_is_closed(
    kind: str, transport: Transport
) -> None:
    async with asked(kind, transport) as (client, call):
        await client.close()

        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(call, 5)

    assert caught.value.sent


@pytest.mark.parametrize("transport", ["lean", "grpcio"])
@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_that_its_caller_cancels_ends_as_cancelled(
    kind: str, transport: Transport
) -> None:
    async with asked(kind, transport) as (_, call):
        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, 5)


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_the_transports_speak_with_each_other(kind: str) -> None:
    def echo(call: ServerCall, message: bytes) -> None:
        call.finish((message[::-1],))

    for ours, theirs in (("lean", "grpcio"), ("grpcio", "lean")):
        listen = listening("127.0.0.1:0", {INFER.path: echo}, transport=theirs, drain_s=0.1)
        async with listen as address:
            channel = connect(address, transport=ours)
            if kind == "unary":
                answers = [await channel.unary(INFER, (b"ab", b"c"), timeout_s=5)]
            else:
                answers = await channel.stream(INFER, (b"ab", b"c"), timeout_s=5).read()
            await channel.close()

        assert answers == [b"cba"]
