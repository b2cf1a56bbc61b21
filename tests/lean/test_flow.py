"""Slow readers, large messages and full buffers, between real peers."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import grpc
import pytest

from libs.lean import Limits
from libs.lean.streams import Stream
from tests.lean.support import COUNT, ECHO, ENDLESS, both, calling, grpc_aio_server, serving
from tests.lean.wire import ServerWire, request
from tests.waiting import until

KIB = 1024
MIB = 1024 * KIB


async def test_a_slow_reader_stops_its_server_and_no_other_stream() -> None:
    async with both() as (channel, handlers):
        slow = channel.stream(ENDLESS, b"1000", timeout_s=30)
        await slow.read()
        await settled(lambda: handlers.sent)
        stopped_at = handlers.sent

        assert stopped_at < 2 * MIB
        for _ in range(5):
            assert await channel.unary(ECHO, bytes(100_000), timeout_s=5) == bytes(100_000)
        assert handlers.sent == stopped_at
        assert len(await slow.read()) * 1005 <= 256 * KIB
        await until(lambda: handlers.sent > stopped_at)
        slow.cancel()


async def settled(value: object) -> None:
    """Wait until a number stays what it is."""
    assert callable(value)
    last = -1
    async with asyncio.timeout(10):
        while (now := value()) != last:
            last = now
            await asyncio.sleep(0.1)


async def test_many_slow_readers_starve_nobody() -> None:
    limits = Limits(connection_window=1 * MIB)
    async with both(limits) as (channel, handlers):
        slow = [channel.stream(ENDLESS, b"10000", timeout_s=30) for _ in range(20)]
        for each in slow:
            await each.read()
        await settled(lambda: handlers.sent)  # 20 x 256 KiB have gone over a window of 1 MiB

        assert await channel.unary(ECHO, bytes(2 * MIB), timeout_s=5) == bytes(2 * MIB)
        for each in slow:
            each.cancel()


async def test_a_stream_of_messages_larger_than_the_window_passes() -> None:
    async with both(Limits(stream_window=10_000)) as (channel, _):
        stream = channel.stream(ENDLESS, b"3000000", timeout_s=30)

        for _ in range(3):
            assert set(await stream.read()) == {bytes(3_000_000)}
        stream.cancel()


async def test_a_slow_grpc_client_stops_our_server() -> None:
    opened: Any = grpc.aio.insecure_channel
    async with serving() as (address, handlers), opened(address) as channel:
        slow = channel.unary_stream(ENDLESS.path)(b"1000")
        await slow.read()
        await settled(lambda: handlers.sent)

        assert handlers.sent < 32 * MIB
        assert await channel.unary_unary(ECHO.path)(b"others", timeout=5) == b"others"
        slow.cancel()


async def test_a_client_that_reads_nothing_from_its_socket_stops_the_server() -> None:
    wide = Limits(stream_window=1 << 30, connection_window=1 << 30)
    async with serving() as (address, handlers), calling(address, limits=wide) as channel:
        stream = channel.stream(ENDLESS, b"1000", timeout_s=30)
        await stream.read()
        connection = channel._connection
        assert connection is not None
        assert connection._transport is not None

        connection._transport.pause_reading()
        await settled(lambda: handlers.sent)

        assert not stream.is_over
        connection._transport.resume_reading()
        stopped_at = handlers.sent
        await until(lambda: handlers.sent > stopped_at)
        stream.cancel()


async def test_a_server_that_reads_nothing_stops_the_client() -> None:
    async with both(Limits(stream_window=16 * MIB)) as (channel, handlers):
        await channel.unary(ECHO, b"", timeout_s=5)
        transport = handlers.calls[0].connection._transport
        assert transport is not None
        transport.pause_reading()
        calls = [channel.unary(ECHO, bytes(8 * MIB), timeout_s=20) for _ in range(3)]
        connection = channel._connection
        assert connection is not None
        await until(lambda: connection.is_paused)
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 2 * MIB

        transport.resume_reading()

        assert [len(await call) for call in calls] == [8 * MIB] * 3


async def test_send_tells_when_there_is_room() -> None:
    wire = ServerWire(Limits(send_buffer=1000))
    wire.feed(request(b"0", 1, COUNT.path.replace("Count", "Hang")))
    (call,) = wire.handlers.calls
    wire.protocol.pause_writing()

    assert call.send([bytes(500)]) is None
    room = call.send([bytes(600)])
    assert room is not None
    assert not room.done
    wire.protocol.resume_writing()
    await asyncio.sleep(0)

    assert room.done
    assert len(b"".join(payload for *_, payload in wire.sent())) > 1100


async def test_a_call_that_is_over_has_room_for_everything() -> None:
    wire = ServerWire(Limits(send_buffer=1000))
    wire.feed(request(b"0", 1, COUNT.path.replace("Count", "Hang")))
    (call,) = wire.handlers.calls
    wire.protocol.pause_writing()
    room = call.send([bytes(5000)])
    assert room is not None

    wire.transport.lose()

    await room
    assert call.send([b"more"]) is None


async def test_answers_wait_while_the_client_reads_nothing_and_count_as_open() -> None:
    wire = ServerWire(Limits(max_streams=10))
    wire.protocol.pause_writing()
    for i in range(50):
        wire.feed(request(b"hello", 2 * i + 1))
        if wire.transport.closed:
            break

    assert len(wire.protocol.streams) == 10
    wire.protocol.resume_writing()
    assert len([kind for kind in wire.kinds() if kind == 0]) == 10
    assert not wire.protocol.streams


async def test_failures_wait_while_the_client_reads_nothing_and_count_as_open() -> None:
    wire = ServerWire(Limits(max_streams=10))
    wire.protocol.pause_writing()
    for i in range(50):
        wire.feed(request(b"hello", 2 * i + 1, "/unknown"))

    assert len(wire.protocol.streams) == 10
    wire.protocol.resume_writing()
    assert not wire.protocol.streams


async def test_a_finished_answer_is_sent_though_it_waits() -> None:
    wire = ServerWire()
    wire.protocol.pause_writing()
    wire.feed(request(b"3", 1, COUNT.path))
    assert wire.protocol.streams

    wire.protocol.resume_writing()

    assert wire.kinds() == [1, 0, 1]


@pytest.mark.parametrize("server", ["ours", "grpc"])
async def test_calls_leave_no_memory_behind(server: str) -> None:
    serve = serving if server == "ours" else grpc_aio_server
    async with serve() as (address, handlers), calling(address) as channel:

        async def calls(count: int) -> None:
            for _ in range(count):
                await channel.unary(ECHO, bytes(1000), timeout_s=5)
            getattr(handlers, "calls", []).clear()
            gc.collect()

        await calls(50)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        await calls(300)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert after - before < 100_000
        assert len(channel.timers) == 0


def streams() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Stream)]


async def test_calls_leave_no_garbage_behind() -> None:
    async with both() as (channel, handlers):
        await channel.unary(ECHO, b"", timeout_s=5)
        handlers.calls.clear()
        gc.collect()
        gc.disable()
        try:
            others = streams()  # that errors of other tests hold on to, by their tracebacks
            for _ in range(50):
                await channel.unary(ECHO, b"x", timeout_s=5)
            handlers.calls.clear()
            left = [each for each in streams() if each not in others]
        finally:
            gc.enable()

        assert left == []
