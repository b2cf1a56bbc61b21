"""Connections come and go: what becomes of the calls."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from typing import Any

import pytest

from libs.lean import Channel, Limits, RpcError, Server, Status, frames
from libs.lean.frames import GOAWAY, PING, SETTINGS, ErrorCode, frame
from tests.lean.support import (
    COUNT,
    ECHO,
    ENDLESS,
    HANG,
    Handlers,
    all_of,
    both,
    calling,
    raw_server,
    serving,
)
from tests.lean.wire import ClientWire, ServerWire, answer, request
from tests.waiting import until

NOBODY = "127.0.0.1:1"


async def failure_of(awaitable: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize("address", [NOBODY, "unix:/nowhere/at/all", "localhost:1", "a..b:1"])
async def test_a_refused_connection_is_told_at_once(address: str) -> None:
    async with calling(address) as channel:
        began = time.monotonic()
        for _ in range(3):
            error = await failure_of(channel.unary(ECHO, b"", timeout_s=30))
            assert (error.status, error.sent) == (Status.UNAVAILABLE, False)
            assert address in error.message

        assert time.monotonic() - began < 1


async def test_a_channel_that_is_not_used_opens_nothing() -> None:
    async with serving() as (address, _), calling(address) as channel:
        await asyncio.sleep(0.02)

        assert not channel.is_connected
        assert "idle" in repr(channel)


async def test_attempts_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[float] = []

    async def connect(*_: Any, **__: Any) -> Any:
        attempts.append(time.monotonic())
        raise ConnectionRefusedError("no")

    monkeypatch.setattr("libs.lean.channel.connect", connect)
    async with calling(NOBODY) as channel:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            await failure_of(channel.unary(ECHO, b"", timeout_s=5))
            await asyncio.sleep(0.005)

    between = [b - a for a, b in itertools.pairwise(attempts)]
    assert 3 <= len(attempts) <= 5
    assert between == sorted(between)
    assert 0.07 < between[0] < 0.2


async def test_a_call_waits_for_a_server_that_is_slow_to_speak() -> None:
    limits = Limits(connect_s=0.2)
    async with raw_server() as address, calling(address, limits=limits) as channel:
        error = await failure_of(channel.unary(ECHO, b"", timeout_s=30))
        assert (error.status, error.sent) == (Status.UNAVAILABLE, False)
        error = await failure_of(channel.unary(ECHO, b"", timeout_s=0.05))
        assert (error.status, error.sent) == (Status.DEADLINE_EXCEEDED, False)


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_server_that_never_sends_settings_has_seen_no_call(greeting: bytes) -> None:
    limits = Limits(connect_s=0.3)
    async with raw_server(greeting) as address, calling(address, limits=limits) as channel:
        error = await failure_of(channel.unary(ECHO, b"", timeout_s=5))

        assert (error.status, error.sent) == (Status.UNAVAILABLE, False)


async def test_a_channel_connects_again_after_a_loss() -> None:
    server = Server(Handlers().by_path())
    address = await server.listen("127.0.0.1:0")
    async with calling(address) as channel:
        assert await channel.unary(ECHO, b"1", timeout_s=5) == b"1"
        await server.close(0)
        await until(lambda: not channel.is_connected)
        assert (await failure_of(channel.unary(ECHO, b"2", timeout_s=5))).sent is False

        server = Server(Handlers().by_path())
        await server.listen(address)
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(RpcError):
                    assert await channel.unary(ECHO, b"3", timeout_s=5) == b"3"
                    break
                await asyncio.sleep(0.02)
        await server.close(0)


async def test_a_killed_server_fails_calls_that_may_have_been_seen() -> None:
    code = (
        "import asyncio, sys; from libs.lean import Server; from tests.lean.support import *\n"
        "async def main():\n"
        "  print(await Server(Handlers().by_path()).listen('127.0.0.1:0'), flush=True)\n"
        "  await asyncio.sleep(30)\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    address = (await process.stdout.readline()).decode().strip()
    async with calling(address) as channel:
        assert await channel.unary(ECHO, b"x", timeout_s=5) == b"x"
        call = channel.unary(HANG, b"", timeout_s=20)
        stream = channel.stream(ENDLESS, b"1000", timeout_s=20)
        await stream.read()

        process.send_signal(signal.SIGKILL)
        await process.wait()

        for error in (await failure_of(call), await failure_of(all_of(stream))):
            assert (error.status, error.sent) == (Status.UNAVAILABLE, True)
        assert not (await failure_of(channel.unary(ECHO, b"", timeout_s=5))).sent


async def test_closing_a_channel_fails_its_calls() -> None:
    async with both() as (channel, handlers):
        call = channel.unary(HANG, b"", timeout_s=5)
        await until(lambda: handlers.calls)

        await channel.close()
        await channel.close()

        error = await failure_of(call)
        assert (error.status, error.sent) == (Status.UNAVAILABLE, True)
        await until(lambda: handlers.cancelled)
        error = await failure_of(channel.unary(ECHO, b"", timeout_s=5))
        assert (error.status, error.sent) == (Status.UNAVAILABLE, False)
        assert "closed" in repr(channel)


async def test_a_channel_that_was_never_used_closes() -> None:
    await Channel(NOBODY).close()


async def test_a_channel_closes_while_it_connects() -> None:
    async with calling("192.0.2.1:1") as channel:  # an address that answers nobody
        call = channel.unary(ECHO, b"", timeout_s=5)
        await asyncio.sleep(0.01)

    error = await failure_of(call)
    assert (error.status, error.sent) == (Status.UNAVAILABLE, False)


async def test_a_closing_server_lets_calls_end_and_takes_no_more() -> None:
    async with both() as (channel, handlers):
        calls = [channel.unary(HANG, b"", timeout_s=5) for _ in range(3)]
        await until(lambda: len(handlers.calls) == 3)
        server = handlers.calls[0].connection._on_gone.__self__  # type: ignore[attr-defined]

        closing = asyncio.create_task(server.close(5))
        await until(lambda: not channel.is_connected)
        assert not (await failure_of(channel.unary(ECHO, b"", timeout_s=5))).sent
        for call in handlers.calls:
            call.finish(b"done")

        assert [await call for call in calls] == [b"done"] * 3
        await asyncio.wait_for(closing, 5)
        assert handlers.cancelled == []


async def test_a_closing_server_waits_no_longer_than_told() -> None:
    async with both() as (channel, handlers):
        call = channel.unary(HANG, b"", timeout_s=5)
        await until(lambda: handlers.calls)
        server = handlers.calls[0].connection._on_gone.__self__  # type: ignore[attr-defined]

        began = time.monotonic()
        await server.close(0.1)

        assert 0.1 <= time.monotonic() - began < 1.5
        error = await failure_of(call)
        assert (error.status, error.sent) == (Status.UNAVAILABLE, True)
        assert handlers.cancelled == handlers.calls


async def test_no_call_is_lost_while_a_server_closes() -> None:
    """Calls race with the shutdown: each is answered, or known not to have been seen."""
    server = Server(Handlers().by_path())
    address = await server.listen("127.0.0.1:0")
    async with calling(address) as channel:
        await channel.unary(ECHO, b"", timeout_s=5)
        outcomes: list[str] = []

        async def keep_calling() -> None:
            """Call until a call is refused, and a little longer."""
            refused = 0
            while refused < 20:
                try:
                    await channel.unary(ECHO, b"x", timeout_s=5)
                    outcomes.append("answered")
                except RpcError as error:
                    refused += 1
                    outcomes.append("not sent" if not error.sent else f"lost: {error}")
                await asyncio.sleep(0)

        callers = [asyncio.create_task(keep_calling()) for _ in range(10)]
        await until(lambda: len(outcomes) > 100)
        await server.close(2)
        await asyncio.gather(*callers)

    assert set(outcomes) == {"answered", "not sent"}


async def test_goaway_comes_in_two_steps() -> None:
    wire = ServerWire()
    wire.feed(request(path=HANG.path))
    wire.sent()
    wire.protocol.drain()  # type: ignore[attr-defined]
    goaway, ping = wire.sent()
    assert goaway == (GOAWAY, 0, 0, bytes((127, 255, 255, 255, 0, 0, 0, 0)))
    assert ping[0] == PING

    wire.feed(request(stream_id=3))  # sent before the client knew
    assert len(wire.kinds()) == 3
    wire.feed(frame(PING, 1, 0, ping[3]))
    assert wire.sent() == [(GOAWAY, 0, 0, bytes((0, 0, 0, 3, 0, 0, 0, 0)))]
    wire.feed(request(stream_id=5))  # ignored
    assert wire.sent() == []
    wire.handlers.calls[0].finish(b"the last")

    assert len(wire.kinds()) == 3
    assert wire.transport.closed


async def test_a_server_that_speaks_late_is_waited_for_until_its_time_is_up() -> None:
    wire = ServerWire(Limits(connect_s=0.05), begun=False)
    wire.sent()

    await asyncio.sleep(0.1)

    assert wire.goaway_code() == ErrorCode.SETTINGS_TIMEOUT
    assert wire.transport.closed


async def test_a_silent_peer_is_pinged_and_then_given_up() -> None:
    limits = Limits(keepalive_s=0.05, keepalive_timeout_s=0.05)
    wire = ClientWire(limits)
    await asyncio.sleep(0.15)
    assert PING not in wire.kinds(), "nothing is in flight"
    call = wire.channel.unary(ECHO, b"", timeout_s=5)

    await until(lambda: (PING, 0, 0, b"a pulse?") in wire.sent())
    await until(lambda: wire.transport.closed)

    assert (await failure_of(call)).status is Status.UNAVAILABLE
    wire.transport.lose()


async def test_a_silent_peer_that_answers_pings_is_alive() -> None:
    wire = ClientWire(Limits(keepalive_s=0.03, keepalive_timeout_s=1.0))
    call = wire.channel.unary(ECHO, b"", timeout_s=5)
    pings = 0
    async with asyncio.timeout(5):
        while pings < 5:
            for kind, *_, payload in wire.sent():
                if kind == PING:
                    pings += 1
                    wire.feed(frame(PING, 1, 0, payload))
            await asyncio.sleep(0.005)

    wire.feed(answer())

    assert await call == b""[:0] + b"hello"
    wire.transport.lose()


async def test_a_server_gives_up_silent_clients_too() -> None:
    wire = ServerWire(Limits(keepalive_s=0.03, keepalive_timeout_s=0.03))
    wire.feed(request(path=HANG.path))

    await until(lambda: wire.transport.closed)

    assert wire.handlers.cancelled


async def test_stream_numbers_end_and_a_new_connection_begins() -> None:
    async with both() as (channel, handlers):
        await channel.unary(ECHO, b"", timeout_s=5)
        first = channel._connection
        assert first is not None
        first._next_id = frames.HIGHEST_ID - 2

        answers = [channel.unary(ECHO, b"%d" % i, timeout_s=5) for i in range(10)]

        assert [await each for each in answers] == [b"%d" % i for i in range(10)]
        assert channel._connection is not first
        assert len({call.connection for call in handlers.calls}) == 2


async def test_calls_above_the_limit_wait_and_all_are_answered() -> None:
    async with both(Limits(max_streams=3)) as (channel, _):
        calls = [channel.unary(ECHO, b"%d" % i, timeout_s=5) for i in range(100)]

        assert [await call for call in calls] == [b"%d" % i for i in range(100)]


async def test_a_call_that_waits_for_its_turn_has_its_bound() -> None:
    async with both(Limits(max_streams=1)) as (channel, handlers):
        channel.unary(HANG, b"", timeout_s=5)
        await until(lambda: handlers.calls)

        error = await failure_of(channel.unary(ECHO, b"", timeout_s=0.1))

        assert (error.status, error.sent) == (Status.DEADLINE_EXCEEDED, False)


async def test_who_waited_for_a_turn_does_not_wait_longer_for_a_new_connection() -> None:
    limits = Limits(max_streams=1, connect_s=0.2)
    server = Server(Handlers().by_path(), limits=limits)
    async with calling(await server.listen("127.0.0.1:0"), limits=limits) as channel:
        channel.unary(HANG, b"", timeout_s=30)
        waiting = channel.unary(ECHO, b"", timeout_s=30)
        await asyncio.sleep(0.3)
        await server.close(0)
        error = await failure_of(waiting)

    assert (error.status, error.sent) == (Status.UNAVAILABLE, False)


async def test_streams_survive_a_graceful_end() -> None:
    server = Server(Handlers().by_path())
    address = await server.listen("127.0.0.1:0")
    async with calling(address) as channel:
        stream = channel.stream(COUNT, b"50000", timeout_s=5)
        first = await stream.read()
        closing = asyncio.create_task(server.close(5))

        assert len(first) + len(await all_of(stream)) == 50_000
        await closing


async def test_settings_come_first() -> None:
    wire = ServerWire(begun=False)

    assert wire.kinds()[0] == SETTINGS
