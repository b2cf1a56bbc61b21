"""Calls between us and gRPC's own implementation, either way around."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest

from libs.lean import Method, RpcError, Status
from tests.lean.support import (
    COUNT,
    ECHO,
    ENDLESS,
    FAIL,
    HALF,
    HANG,
    METADATA,
    TRAILERS,
    UNLIMITED,
    all_of,
    calling,
    grpc_aio_server,
    grpc_sync_server,
    in_thread,
    serving,
)
from tests.waiting import until

LARGE = bytes(range(256)) * (20 * 1024 * 1024 // 256)
OpenServer = Callable[..., AbstractAsyncContextManager[tuple[str, Any]]]
servers = pytest.mark.parametrize(
    "server", [grpc_aio_server, grpc_sync_server], ids=["grpc.aio", "grpc"]
)


@servers
async def test_our_client_calls_grpcs_servers(server: OpenServer) -> None:
    async with server() as (address, _), calling(address) as channel:
        for message in (b"", b"hello", bytes(70_000)):
            assert await channel.unary(ECHO, message, timeout_s=5) == message
        assert await channel.unary(METADATA, b"", timeout_s=5) == b"blue"
        told = Method(ECHO.path, tell_deadline=True)
        assert await channel.unary(told, b"in time", timeout_s=5) == b"in time"
        assert await all_of(channel.stream(COUNT, b"100", timeout_s=5)) == [
            b"%d" % i for i in range(100)
        ]


@servers
async def test_our_client_calls_grpcs_servers_many_times_at_once(server: OpenServer) -> None:
    async with server() as (address, _), calling(address) as channel:
        calls = [channel.unary(ECHO, b"%d" % i, timeout_s=20) for i in range(300)]

        assert [await call for call in calls] == [b"%d" % i for i in range(300)]


@servers
async def test_our_client_sends_and_takes_20_mb(server: OpenServer) -> None:
    async with server() as (address, _), calling(address) as channel:
        assert await channel.unary(ECHO, [LARGE[:-5], LARGE[-5:]], timeout_s=30) == LARGE


@servers
async def test_our_client_understands_grpcs_errors(server: OpenServer) -> None:
    async with server() as (address, _), calling(address) as channel:
        with pytest.raises(RpcError) as caught:
            await channel.unary(FAIL, "käse 100%".encode(), timeout_s=5)
        assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "käse 100%")
        assert caught.value.trailers == TRAILERS

        stream = channel.stream(HALF, b"", timeout_s=5)
        with pytest.raises(RpcError) as caught:
            await all_of(stream)
        assert (caught.value.status, caught.value.message) == (Status.ABORTED, "half")

        with pytest.raises(RpcError) as caught:
            await channel.unary(Method("/test.Test/None"), b"", timeout_s=5)
        assert caught.value.status is Status.UNIMPLEMENTED


async def test_our_cancellation_reaches_grpc() -> None:
    async with grpc_aio_server() as (address, handlers), calling(address) as channel:
        await channel.unary(ECHO, b"", timeout_s=5)
        with pytest.raises(RpcError) as caught:
            await channel.unary(HANG, b"", timeout_s=0.2)

        assert caught.value.status is Status.DEADLINE_EXCEEDED
        await until(lambda: handlers.cancelled == 1)


async def test_our_client_calls_grpc_over_a_unix_socket(tmp_path: Any) -> None:
    async with grpc_aio_server(f"unix:{tmp_path}/s") as (address, _), calling(address) as channel:
        assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"


async def test_grpc_going_away_loses_no_call() -> None:
    async with grpc_aio_server() as (address, _), calling(address) as channel:
        calls = [channel.unary(ECHO, b"x", timeout_s=5) for _ in range(100)]

        assert {await call for call in calls} == {b"x"}


async def test_grpcs_aio_client_calls_our_server() -> None:
    async with serving() as (address, _), grpc_channel(address) as channel:
        for message in (b"", b"hello", bytes(70_000)):
            assert await channel.unary_unary(ECHO.path)(message, timeout=5) == message
        metadata = (("x-color", "red"), ("x-large", "y" * 7000))
        blue = channel.unary_unary(METADATA.path)
        assert await blue(b"", timeout=5, metadata=metadata) == b"red"
        stream = channel.unary_stream(COUNT.path)(b"1000", timeout=5)
        assert [each async for each in stream] == [b"%d" % i for i in range(1000)]


def grpc_channel(address: str) -> Any:
    return grpc.aio.insecure_channel(address, options=UNLIMITED)


async def test_grpcs_aio_client_calls_our_server_many_times_at_once() -> None:
    async with serving() as (address, _), grpc_channel(address) as channel:
        echo = channel.unary_unary(ECHO.path)

        answers = await asyncio.gather(*(echo(b"%d" % i, timeout=20) for i in range(300)))

        assert answers == [b"%d" % i for i in range(300)]


async def test_grpcs_aio_client_sends_and_takes_20_mb() -> None:
    async with serving() as (address, _), grpc_channel(address) as channel:
        assert await channel.unary_unary(ECHO.path)(LARGE, timeout=30) == LARGE


async def test_grpcs_aio_client_understands_our_errors() -> None:
    async with serving() as (address, _), grpc_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(FAIL.path)("käse 100%".encode(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "käse 100%"
        assert dict(caught.value.trailing_metadata() or ()) == TRAILERS

        stream = channel.unary_stream(HALF.path)(b"", timeout=5)
        assert [await stream.read(), await stream.read()] == [b"1", b"2"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.ABORTED

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Test/None")(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_grpcs_cancellation_and_deadline_reach_us() -> None:
    async with serving() as (address, handlers), grpc_channel(address) as channel:
        call = channel.unary_unary(HANG.path)(b"")
        await until(lambda: len(handlers.calls) == 1)
        call.cancel()
        await until(lambda: len(handlers.cancelled) == 1)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(HANG.path)(b"", timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: len(handlers.cancelled) == 2)

        stream = channel.unary_stream(ENDLESS.path)(b"1000")
        await stream.read()
        stream.cancel()
        await until(lambda: len(handlers.cancelled) == 3)


async def test_a_compressing_client_is_refused() -> None:
    async with serving() as (address, _), grpc_channel(address) as channel:
        echo = channel.unary_unary(ECHO.path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(bytes(1000), timeout=5, compression=grpc.Compression.Gzip)

        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("requests", [0, 2])
async def test_any_number_of_requests_but_one_is_refused(requests: int) -> None:
    async with serving() as (address, _), grpc_channel(address) as channel:
        call = channel.stream_unary(ECHO.path)(iter([b"a"] * requests), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call

        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_grpcs_sync_client_calls_our_server() -> None:
    def calls(address: str) -> list[Any]:
        opened: Any = grpc.insecure_channel
        with opened(address, options=UNLIMITED) as channel:
            echo = channel.unary_unary(ECHO.path)
            futures = [echo.future(b"%d" % i, timeout=20) for i in range(100)]
            stream = channel.unary_stream(COUNT.path)(b"100", timeout=5)
            return [
                [each.result() for each in futures],
                list(stream),
                echo(LARGE, timeout=30) == LARGE,
            ]

    async with serving() as (address, _):
        numbers = [b"%d" % i for i in range(100)]
        assert await in_thread(lambda: calls(address)) == [numbers, numbers, True]


async def test_grpc_calls_our_server_over_a_unix_socket(tmp_path: Any) -> None:
    async with serving(f"unix:{tmp_path}/s") as (address, _), grpc_channel(address) as channel:
        assert await channel.unary_unary(ECHO.path)(b"hello", timeout=5) == b"hello"


async def test_a_closing_server_lets_grpcs_calls_end() -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = contextlib.AsyncExitStack()
        address, handlers = await server.enter_async_context(serving(drain_s=5))
        channel = await stack.enter_async_context(grpc_channel(address))
        call = asyncio.ensure_future(channel.unary_unary(HANG.path)(b"", timeout=5))
        await until(lambda: handlers.calls)
        asyncio.get_running_loop().call_later(0.2, handlers.calls[0].finish, b"done")

        await server.aclose()

        assert await call == b"done"
