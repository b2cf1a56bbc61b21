"""Calls that end before their answer: cancelled, or out of time."""

from __future__ import annotations

import asyncio
import time

import pytest

from libs.lean import Method, RpcError, Status
from tests.lean.support import ECHO, ENDLESS, HANG, all_of, both, value_of
from tests.waiting import until


async def test_a_cancelled_caller_cancels_the_call() -> None:
    async with both() as (channel, handlers):
        task = asyncio.create_task(value_of(channel.unary(HANG, b"", timeout_s=5)))
        await until(lambda: handlers.calls)

        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: handlers.cancelled)
        assert handlers.cancelled == handlers.calls
        assert await channel.unary(ECHO, b"others go on", timeout_s=5) == b"others go on"


async def test_a_cancelled_reader_cancels_the_stream() -> None:
    async with both() as (channel, handlers):
        task = asyncio.create_task(value_of(channel.stream(HANG, b"", timeout_s=5).read()))
        await until(lambda: handlers.calls)

        task.cancel()

        await until(lambda: handlers.cancelled)


async def test_a_stream_may_be_cancelled_at_any_time() -> None:
    async with both() as (channel, handlers):
        stream = channel.stream(ENDLESS, b"1000", timeout_s=5)
        await stream.read()

        stream.cancel()
        stream.cancel()

        await until(lambda: handlers.cancelled)
        with pytest.raises(RpcError) as caught:
            await all_of(stream)
        assert caught.value.status is Status.CANCELLED


async def test_cancelling_before_the_connection_is_there_sends_nothing() -> None:
    async with both() as (channel, handlers):
        channel.stream(HANG, b"", timeout_s=5).cancel()
        await channel.unary(ECHO, b"", timeout_s=5)

        assert len(handlers.calls) == 1


async def test_a_caller_cancelled_before_the_connection_is_there_ends_as_cancelled() -> None:
    async with both() as (channel, handlers):
        task = asyncio.create_task(value_of(channel.unary(HANG, b"", timeout_s=5)))
        await asyncio.sleep(0)

        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        assert await channel.unary(ECHO, b"others go on", timeout_s=5) == b"others go on"
        assert len(handlers.calls) == 1


async def test_a_call_that_takes_too_long_fails_and_is_cancelled() -> None:
    async with both() as (channel, handlers):
        began = time.monotonic()
        with pytest.raises(RpcError) as caught:
            await channel.unary(HANG, b"", timeout_s=0.1)

        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert caught.value.sent
        assert 0.1 <= time.monotonic() - began < 1
        await until(lambda: handlers.cancelled)


async def test_a_streams_bound_may_be_moved() -> None:
    async with both() as (channel, _):
        stream = channel.stream(HANG, b"", timeout_s=30)
        stream.due = time.monotonic() + 0.05

        with pytest.raises(RpcError) as caught:
            await stream.read()
        assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_a_told_deadline_ends_the_call_at_the_server() -> None:
    async with both() as (channel, handlers):
        method = Method(HANG.path, tell_deadline=True)
        await channel.unary(ECHO, b"", timeout_s=5)
        call = channel.stream(method, b"", timeout_s=0.3)
        call.due += 10  # so that the server is the first to see it

        with pytest.raises(RpcError) as caught:
            await call.read()

        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert "the client" in caught.value.message
        assert handlers.cancelled == handlers.calls[1:]
        assert handlers.calls[1].due is not None


async def test_a_deadline_is_unknown_unless_told() -> None:
    async with both() as (channel, handlers):
        await channel.unary(ECHO, b"", timeout_s=5)

        assert handlers.calls[0].due is None
