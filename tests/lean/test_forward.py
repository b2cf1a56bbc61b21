"""Streams that are pushed to a sink, and many of them read together."""

from __future__ import annotations

import asyncio
import time
import weakref

import pytest

from libs.eager import Promise
from libs.lean import Limits, RpcError, Status
from libs.lean.calls import ClientStream
from tests.lean.support import COUNT, ENDLESS, HALF, both
from tests.waiting import until


async def test_a_sink_gets_all_messages_in_order_and_then_the_end() -> None:
    came: list[bytes] = []
    async with both() as (channel, _):
        await channel.stream(COUNT, b"1000", timeout_s=5).forward(came.extend)

    assert came == [b"%d" % number for number in range(1000)]


async def test_a_sink_without_room_is_asked_again_when_there_is_some() -> None:
    came: list[list[bytes]] = []
    room: Promise[None] = Promise(asyncio.get_running_loop())

    def sink(messages: list[bytes]) -> Promise[None] | None:
        came.append(messages)
        return room if len(came) == 1 else None

    async with both(Limits(stream_window=1000)) as (channel, handlers):
        stream = channel.stream(ENDLESS, b"100", timeout_s=5)
        end = stream.forward(sink)
        await until(lambda: came)
        before = handlers.sent
        await asyncio.sleep(0.1)
        assert len(came) == 1
        assert handlers.sent < before + 10_000  # windows and buffers, and no more

        room.resolve(None)
        await until(lambda: len(came) > 3)
        end.cancel()


async def test_what_a_sink_raises_ends_the_call_and_is_raised() -> None:
    def sink(messages: list[bytes]) -> None:
        raise ValueError(messages[0])

    async with both() as (channel, handlers):
        end = channel.stream(ENDLESS, b"3", timeout_s=5).forward(sink)

        with pytest.raises(ValueError, match="x00"):
            await end
        await until(lambda: handlers.cancelled)


async def test_a_stream_that_is_over_lets_go_of_its_sink() -> None:
    """Who passes parts on holds the stream: together they would be a cycle, for the collector."""

    class Sink:
        def __init__(self, stream: ClientStream) -> None:
            self.stream = stream

        def take(self, messages: list[bytes]) -> None:
            if messages[0] == b"fail":
                raise ValueError

    async with both() as (channel, _):
        left = []
        for _ in range(3):
            stream = channel.stream(COUNT, b"10", timeout_s=5)
            sink = Sink(stream)
            left.append(weakref.ref(sink))
            await stream.forward(sink.take)
            del stream, sink
        await asyncio.sleep(0)

        assert [each() for each in left] == [None] * 3


async def test_who_cancels_the_end_cancels_the_call() -> None:
    came: list[bytes] = []

    async with both() as (channel, handlers):
        end = channel.stream(ENDLESS, b"3", timeout_s=5).forward(came.extend)
        await until(lambda: came)
        end.cancel()

        with pytest.raises(asyncio.CancelledError):
            await end
        await until(lambda: handlers.cancelled)
        seen = len(came)
        await asyncio.sleep(0.02)
        assert len(came) == seen


async def test_messages_before_an_error_reach_the_sink() -> None:
    came: list[bytes] = []

    async with both() as (channel, _):
        with pytest.raises(RpcError) as caught:
            await channel.stream(HALF, b"", timeout_s=5).forward(came.extend)

    assert came == [b"1", b"2"]
    assert caught.value.status is Status.ABORTED


async def test_a_sink_that_is_in_the_way_of_the_end_gets_the_rest_first() -> None:
    came: list[bytes] = []
    room: Promise[None] = Promise(asyncio.get_running_loop())

    def sink(messages: list[bytes]) -> Promise[None] | None:
        came.extend(messages)
        return None if room.done else room

    async with both() as (channel, _):
        stream = channel.stream(COUNT, b"20000", timeout_s=5)
        end = stream.forward(sink)
        await until(lambda: came)
        await asyncio.sleep(0.05)
        assert not end.done
        room.resolve(None)
        await end

    assert len(came) == 20_000


async def test_a_stream_has_one_reader() -> None:
    async with both() as (channel, _):
        stream = channel.stream(ENDLESS, b"3", timeout_s=5)
        end = stream.forward(lambda _: None)

        with pytest.raises(RuntimeError):
            stream.read()
        with pytest.raises(RuntimeError):
            stream.forward(lambda _: None)
        end.cancel()


@pytest.mark.parametrize(
    ("streams", "size", "window", "rests"),
    [(4, 50, 100, False), (20, 50, 100, True), (20, 1000, 100_000, False)],
    ids=["few", "many", "many, with much to read at once"],
)
async def test_many_streams_of_small_parts_are_read_together(
    monkeypatch: pytest.MonkeyPatch, streams: int, size: int, window: int, rests: bool
) -> None:
    limits = Limits(coalesce_s=0.05, stream_window=window)
    reads = [0] * streams
    rested: list[float] = []
    sleep = time.sleep

    def rest(seconds: float) -> None:
        rested.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", rest)

    async with both(client_limits=limits) as (channel, _):
        await channel.unary(COUNT, b"1", timeout_s=5)
        ends = []
        for at in range(streams):

            def sink(messages: list[bytes], at: int = at) -> None:
                reads[at] += 1

            ends.append(channel.stream(ENDLESS, b"%d" % size, timeout_s=5).forward(sink))
        async with asyncio.timeout(4):
            while min(reads) < 5:
                await asyncio.sleep(0.01)
        for end in ends:
            end.cancel()
        assert await channel.unary(COUNT, b"1", timeout_s=5) == b"0"  # it reads on

    assert (2 * len(rested) > max(reads)) is rests
