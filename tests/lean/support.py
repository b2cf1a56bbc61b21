"""Methods that all servers of these tests have, ours and gRPC's; and channels to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from libs.lean import Channel, ClientStream, Limits, Method, Server, ServerCall, Status

ECHO = Method("/test.Test/Echo")  # gives back what it gets
COUNT = Method("/test.Test/Count")  # streams the numbers below what it gets
ENDLESS = Method("/test.Test/Endless")  # streams chunks of the size it gets, without end
FAIL = Method("/test.Test/Fail")  # fails with what it gets for a message, and a trailer
HALF = Method("/test.Test/Half")  # streams two messages, then fails
HANG = Method("/test.Test/Hang")  # never answers
METADATA = Method("/test.Test/Metadata", metadata=[("x-color", "blue")])  # gives x-color back
TRAILERS = {"x-reason": "tests", "x-pointer": "a%20b"}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Handlers:
    """Our server's side; keeps what it saw."""

    def __init__(self) -> None:
        self.calls: list[ServerCall] = []
        self.cancelled: list[ServerCall] = []
        self.sent = 0

    def by_path(self) -> dict[str, Callable[[ServerCall, bytes], None]]:
        return {
            ECHO.path: self.echo,
            COUNT.path: self.count,
            ENDLESS.path: self.endless,
            FAIL.path: self.fail,
            HALF.path: self.half,
            HANG.path: self.hang,
            METADATA.path: self.metadata,
        }

    def echo(self, call: ServerCall, message: bytes) -> None:
        self.calls.append(call)
        call.finish(message)

    def count(self, call: ServerCall, message: bytes) -> None:
        call.send([b"%d" % i for i in range(int(message))])
        call.end()

    def endless(self, call: ServerCall, message: bytes) -> None:
        self.hang(call, message)
        chunk = bytes(int(message))

        def go_on(_: object = None) -> None:
            while not call.is_over:
                self.sent += len(chunk)
                room = call.send([chunk])
                if room is not None:
                    room.add_done_callback(go_on)
                    break

        go_on()

    def fail(self, call: ServerCall, message: bytes) -> None:
        call.fail(Status.NOT_FOUND, message.decode(), list(TRAILERS.items()))

    def half(self, call: ServerCall, message: bytes) -> None:
        call.send([b"1", b"2"])
        call.fail(Status.ABORTED, "half", [("x-reason", "tests")])

    def hang(self, call: ServerCall, message: bytes) -> None:
        self.calls.append(call)
        call.on_cancel = lambda: self.cancelled.append(call)

    def metadata(self, call: ServerCall, message: bytes) -> None:
        call.finish(call.metadata["x-color"].encode())


@contextlib.asynccontextmanager
async def serving(
    address: str = "127.0.0.1:0", *, drain_s: float = 0.0, **options: Any
) -> AsyncIterator[tuple[str, Handlers]]:
    handlers = Handlers()
    server = Server(handlers.by_path(), **options)
    try:
        yield await server.listen(address), handlers
    finally:
        await server.close(drain_s)


@contextlib.asynccontextmanager
async def calling(address: str, **options: Any) -> AsyncIterator[Channel]:
    channel = Channel(address, **options)
    try:
        yield channel
    finally:
        await channel.close()


@contextlib.asynccontextmanager
async def both(
    limits: Limits | None = None, client_limits: Limits | None = None
) -> AsyncIterator[tuple[Channel, Handlers]]:
    async with (
        serving(limits=limits) as (address, handlers),
        calling(address, limits=client_limits or limits) as channel,
    ):
        yield channel, handlers


async def all_of(stream: ClientStream) -> list[bytes]:
    messages: list[bytes] = []
    while part := await stream.read():
        messages += part
    return messages


@contextlib.asynccontextmanager
async def raw_server(greeting: bytes | None = None, **options: Any) -> AsyncIterator[str]:
    """A server that says something and hangs up, or says nothing at all."""
    writers: list[asyncio.StreamWriter] = []

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if greeting is not None:
            writer.write(greeting)
            writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, **options)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class GrpcHandlers(grpc.GenericRpcHandler):
    """gRPC's side, for its asyncio server and for its synchronous one."""

    def __init__(self, *, is_async: bool) -> None:
        self.cancelled = 0
        self._is_async = is_async

    def service(self, details: Any) -> Any:
        kind = "async" if self._is_async else "sync"
        name = details.method.rpartition("/")[2].lower()
        behaviour = getattr(self, f"{kind}_{name}", None)
        if behaviour is None:
            return None
        if name in ("count", "half"):
            return grpc.unary_stream_rpc_method_handler(behaviour)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    async def async_echo(self, message: bytes, context: Any) -> bytes:
        return message

    async def async_count(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        for i in range(int(message)):
            yield b"%d" % i

    async def async_fail(self, message: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, message.decode(), tuple(TRAILERS.items()))
        return b""

    async def async_half(self, message: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"
        await context.abort(grpc.StatusCode.ABORTED, "half", (("x-reason", "tests"),))

    async def async_hang(self, message: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b""

    async def async_metadata(self, message: bytes, context: Any) -> bytes:
        return str(dict(context.invocation_metadata())["x-color"]).encode()

    def sync_echo(self, message: bytes, context: Any) -> bytes:
        return message

    def sync_count(self, message: bytes, context: Any) -> Iterator[bytes]:
        for i in range(int(message)):
            yield b"%d" % i

    def sync_fail(self, message: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(tuple(TRAILERS.items()))
        context.abort(grpc.StatusCode.NOT_FOUND, message.decode())
        return b""

    def sync_half(self, message: bytes, context: Any) -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        context.abort(grpc.StatusCode.ABORTED, "half")

    def sync_hang(self, message: bytes, context: Any) -> bytes:
        def ended() -> None:
            self.cancelled += 1

        context.add_callback(ended)
        return b""

    def sync_metadata(self, message: bytes, context: Any) -> bytes:
        return str(dict(context.invocation_metadata())["x-color"]).encode()


Opened = tuple[str, GrpcHandlers]


@contextlib.asynccontextmanager
async def grpc_aio_server(address: str = "127.0.0.1:0", **_: Any) -> AsyncIterator[Opened]:
    handlers = GrpcHandlers(is_async=True)
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers([handlers])
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield address.replace(":0", f":{port}"), handlers
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def grpc_sync_server(address: str = "127.0.0.1:0") -> AsyncIterator[Opened]:
    handlers = GrpcHandlers(is_async=False)
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, handlers=[handlers], options=UNLIMITED)
        port = server.add_insecure_port(address)
        server.start()
        try:
            yield address.replace(":0", f":{port}"), handlers
        finally:
            server.stop(0).wait()


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def value_of(awaitable: Any) -> Any:
    """Await it in a task of its own."""
    return await awaitable
