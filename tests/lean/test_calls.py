"""Calls between our client and our server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from libs.eager import start
from libs.lean import Channel, Limits, Method, RpcError, Server, ServerCall, Status
from tests.lean import test_cancelling
from tests.lean.support import (
    COUNT,
    ECHO,
    FAIL,
    HALF,
    HANG,
    METADATA,
    TRAILERS,
    all_of,
    both,
    calling,
    serving,
    value_of,
)
from tests.waiting import until

MIB = 1024 * 1024


async def test_an_answer_comes() -> None:
    async with both() as (channel, _):
        assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"


async def test_a_message_may_be_empty() -> None:
    async with both() as (channel, _):
        assert await channel.unary(ECHO, b"", timeout_s=5) == b""


async def test_chunks_are_sent_as_one_message() -> None:
    async with both() as (channel, _):
        assert await channel.unary(ECHO, [b"a", b"", b"bc"], timeout_s=5) == b"abc"
        large = [bytes(100_000)] * 3
        assert await channel.unary(ECHO, large, timeout_s=5) == b"".join(large)


async def test_many_calls_share_a_connection() -> None:
    async with both() as (channel, handlers):
        answers = await asyncio.gather(
            *(value_of(channel.unary(ECHO, b"%d" % i, timeout_s=5)) for i in range(500))
        )

        assert answers == [b"%d" % i for i in range(500)]
        assert len({call.connection for call in handlers.calls}) == 1


async def test_an_eager_task_may_call_again_from_within_its_answer() -> None:
    async with both() as (channel, _):
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def calls() -> list[bytes]:
            return [await channel.unary(ECHO, b"%d" % i, timeout_s=5) for i in range(50)]

        start(calls(), ended.set_result)

        assert (await ended).result() == [b"%d" % i for i in range(50)]


async def test_messages_of_20_mb_pass_both_ways() -> None:
    async with both() as (channel, _):
        message = bytes(range(256)) * (20 * MIB // 256)

        answers = [channel.unary(ECHO, message, timeout_s=30) for _ in range(2)]

        assert [await answer == message for answer in answers] == [True, True]


async def test_the_time_for_a_message_is_linear_in_its_size() -> None:
    async with both() as (channel, _):
        took = []
        for size in (4 * MIB, 32 * MIB):
            began = time.process_time()
            await channel.unary(ECHO, bytes(size), timeout_s=30)
            took.append(time.process_time() - began)

        assert took[1] < 8 * took[0] * 4 + 0.2


@pytest.mark.parametrize("wanted", [0, 1, 10, 20_000])
async def test_a_stream_gives_all_messages_in_order(wanted: int) -> None:
    async with both() as (channel, _):
        stream = channel.stream(COUNT, b"%d" % wanted, timeout_s=5)

        assert await all_of(stream) == [b"%d" % i for i in range(wanted)]
        assert await stream.read() == []


async def test_a_stream_gives_what_has_come_at_once() -> None:
    async with both() as (channel, _):
        stream = channel.stream(COUNT, b"100", timeout_s=5)

        assert len(await stream.read()) == 100
        await until(lambda: stream.is_over)
        assert stream.read().done


async def test_an_error_brings_its_message_and_trailers() -> None:
    async with both() as (channel, _):
        with pytest.raises(RpcError) as caught:
            await channel.unary(FAIL, "käse 100%\n\U0001f9c0".encode(), timeout_s=5)

        assert caught.value.status is Status.NOT_FOUND
        assert caught.value.message == "käse 100%\n\U0001f9c0"
        assert caught.value.trailers == TRAILERS
        assert caught.value.sent


async def test_a_very_long_error_is_cut() -> None:
    async with both() as (channel, _):
        with pytest.raises(RpcError) as caught:
            await channel.unary(FAIL, "ü".encode() * 100_000, timeout_s=5)

        assert caught.value.message.strip("ü") in ("", "\ufffd")
        assert 100 < len(caught.value.message) < 5000


async def test_messages_before_an_error_come_first() -> None:
    async with both() as (channel, _):
        stream = channel.stream(HALF, b"", timeout_s=5)

        assert await stream.read() == [b"1", b"2"]
        for _ in range(2):
            with pytest.raises(RpcError) as caught:
                await stream.read()
            assert caught.value.status is Status.ABORTED
            assert caught.value.trailers == {"x-reason": "tests"}


async def test_an_unknown_method_is_unimplemented() -> None:
    async with both() as (channel, _):
        with pytest.raises(RpcError) as caught:
            await channel.unary(Method("/test.Test/None"), b"", timeout_s=5)

        assert caught.value.status is Status.UNIMPLEMENTED
        assert "/test.Test/None" in caught.value.message


async def test_metadata_arrives() -> None:
    async with both() as (channel, _):
        assert await channel.unary(METADATA, b"", timeout_s=5) == b"blue"


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Upper", "a"), ("x", "line\nbreak"), ("x", "käse"), ("", "a"), ("x", " a"), ("a b", "c")],
)
def test_metadata_that_no_header_can_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="no header"):
        Method("/a/B", metadata=[(name, value)])


def test_metadata_of_more_than_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes of headers"):
        Method("/a/B", metadata=[("x", "y" * 20_000)])


async def test_a_mistake_in_a_handler_is_internal_and_told_to_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def mistaken(call: ServerCall, message: bytes) -> None:
        raise KeyError("a secret")

    server = Server({"/a/Mistaken": mistaken, ECHO.path: lambda call, m: call.finish(m)})
    async with calling(await server.listen("127.0.0.1:0")) as channel:
        with pytest.raises(RpcError) as caught:
            await channel.unary(Method("/a/Mistaken"), b"", timeout_s=5)
        assert await channel.unary(ECHO, b"still here", timeout_s=5) == b"still here"
    await server.close(0)

    assert (caught.value.status, caught.value.message) == (Status.INTERNAL, "internal error")
    assert caplog.text.count("KeyError: 'a secret'") == 1


async def test_a_message_over_the_servers_limit_is_refused() -> None:
    async with both(Limits(max_message_bytes=1000), Limits()) as (channel, _):
        for size in (1001, 5_000_000):
            with pytest.raises(RpcError) as caught:
                await channel.unary(ECHO, bytes(size), timeout_s=5)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED

        assert await channel.unary(ECHO, bytes(1000), timeout_s=5) == bytes(1000)


async def test_a_message_over_the_clients_limit_is_refused() -> None:
    async with both(Limits(), Limits(max_message_bytes=1000)) as (channel, _):
        for size in (1001, 5_000_000):
            with pytest.raises(RpcError) as caught:
                await channel.unary(ECHO, bytes(size), timeout_s=5)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED

        assert await channel.unary(ECHO, bytes(1000), timeout_s=5) == bytes(1000)


async def test_what_is_done_to_a_call_that_is_over_has_no_effect() -> None:
    async with both() as (channel, handlers):
        await channel.unary(ECHO, b"", timeout_s=5)
        (call,) = handlers.calls
        call.on_cancel = pytest.fail

        call.finish(b"")
        call.fail(Status.INTERNAL, "")
        call.end()
        assert call.send([b"a"]) is None
        await channel.close()

    assert call.is_over


async def test_a_second_read_at_once_is_a_mistake() -> None:
    async with both() as (channel, _):
        stream = channel.stream(HANG, b"", timeout_s=5)
        first = stream.read()

        with pytest.raises(RuntimeError):
            stream.read()
        stream.cancel()
        with pytest.raises(RpcError):
            await first


async def test_a_stream_where_one_answer_was_expected_fails() -> None:
    async with both() as (channel, _):
        for wanted in (b"0", b"2"):
            with pytest.raises(RpcError) as caught:
                await channel.unary(COUNT, wanted, timeout_s=5)
            assert caught.value.status is Status.UNIMPLEMENTED


async def test_unix_sockets_work_and_are_their_owners_alone(tmp_path: Any) -> None:
    address = f"unix:{tmp_path}/s"
    async with serving(address) as (bound, _), calling(bound) as channel:
        assert bound == address
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"

    assert not (tmp_path / "s").exists()


async def test_an_address_in_use_is_refused(tmp_path: Any) -> None:
    for address in ("127.0.0.1:0", f"unix:{tmp_path}/s"):
        async with serving(address) as (bound, _):
            with pytest.raises(OSError, match=r"in use|another process"):
                await Server({}).listen(bound)


async def test_the_socket_of_a_dead_server_is_taken_over(tmp_path: Any) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    async with serving(f"unix:{tmp_path}/s") as (bound, _), calling(bound) as channel:
        assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"


async def test_a_server_listens_on_several_addresses(tmp_path: Any) -> None:
    server = Server({ECHO.path: lambda call, message: call.finish(message)})
    for address in ("127.0.0.1:0", "localhost:0", f"unix:{tmp_path}/s"):
        async with calling(await server.listen(address)) as channel:
            assert await channel.unary(ECHO, b"hello", timeout_s=5) == b"hello"
    await server.close(0)


def test_everything_works_on_uvloop() -> None:
    async def on_uvloop() -> None:
        for test in TESTS_ON_UVLOOP:
            await test()

    uvloop.run(on_uvloop())


TESTS_ON_UVLOOP: list[Callable[[], Any]] = [
    test_many_calls_share_a_connection,
    test_an_eager_task_may_call_again_from_within_its_answer,
    test_messages_of_20_mb_pass_both_ways,
    test_an_error_brings_its_message_and_trailers,
    test_cancelling.test_a_cancelled_caller_cancels_the_call,
    test_cancelling.test_a_call_that_takes_too_long_fails_and_is_cancelled,
]


@pytest.mark.parametrize("address", ["nowhere", ":1", "::1:80", "host:http", "unix"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        Channel(address)
