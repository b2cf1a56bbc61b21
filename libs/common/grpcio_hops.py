"""Hops over grpcio, with the interface of the lean transport; see `libs.common.hops`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc

from libs.common.grpcio_tls import LiveChannel, peer_uris, server_credentials
from libs.common.hop_tls import HopTls
from libs.common.rpc import Context, grpc_server, was_sent
from libs.eager import Promise
from libs.lean import Method, RpcError, Status

LEFT = object()  # in place of a message: the call has ended


class GrpcioChannel:
    """Calls one address."""

    def __init__(self, address: str, tls: HopTls | None, keepalive_s: float) -> None:
        self._address = address
        self._channel = LiveChannel(address, tls, keepalive_s=keepalive_s)

    def __repr__(self) -> str:
        return f"<GrpcioChannel {self._address}>"

    async def unary(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> bytes:
        """Send one message and return the answer."""
        call: Any = self._channel.now().unary_unary(method.path)
        try:
            answer: bytes = await call(
                b"".join(message), timeout=timeout_s, metadata=method.metadata
            )
        except grpc.aio.AioRpcError as error:
            raise _rpc_error(error) from error
        except asyncio.CancelledError:
            _raise_unless_ours()
        return answer

    def stream(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> GrpcioStream:
        """Send one message and return the answers as they come."""
        rpc: Any = self._channel.now().unary_stream(method.path)
        call = rpc(b"".join(message), timeout=timeout_s, metadata=method.metadata)
        return GrpcioStream(call, time.monotonic() + timeout_s)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()


class GrpcioStream:
    """The answers to one call."""

    def __init__(self, call: Any, due: float) -> None:
        self.due = due
        self._call = call

    async def read(self) -> list[bytes]:
        """Return the next message, none at the end."""
        try:
            async with asyncio.timeout(self.due - time.monotonic()):
                message = await self._call.read()
            if message is not grpc.aio.EOF:
                return [message]
            if await self._call.code() is not grpc.StatusCode.OK:
                raise _rpc_error(await _failure(self._call))
        except TimeoutError as error:
            self.cancel()
            raise RpcError(Status.DEADLINE_EXCEEDED, "no message in time", sent=True) from error
        except grpc.aio.AioRpcError as error:
            raise _rpc_error(error) from error
        except asyncio.CancelledError:
            _raise_unless_ours()
        return []

    async def forward(self, sink: Callable[[list[bytes]], Promise[None] | None]) -> None:
        """Call `sink` with each message, until the end."""
        while messages := await self.read():
            room = sink(messages)
            if room is not None:
                await room

    def cancel(self) -> None:
        """Stop the call."""
        self._call.cancel()


class GrpcioCall:
    """A call to answer; what is said is written in order by `write_all`."""

    def __init__(self, peer_uris: tuple[str, ...]) -> None:
        self.on_cancel: Callable[[], object] | None = None
        self.peer_uris = peer_uris
        self._said: asyncio.Queue[Any] = asyncio.Queue()

    def finish(self, message: Sequence[bytes]) -> None:
        """Answer once, and end well."""
        self._say(b"".join(message))
        self.end()

    def send(self, messages: Sequence[bytes]) -> Promise[None]:
        """Send messages, one after the other."""
        written: Promise[None] = Promise()
        for message in messages:
            self._say(message)
        self._say(written)
        return written

    def end(self) -> None:
        """End well."""
        self._say(LEFT)

    def fail(self, status: int, message: str, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """End badly."""
        self._say((status, message, tuple(trailers)))

    async def write_all(self, context: Context) -> None:
        """Write until the end."""
        while (said := await self._said.get()) is not LEFT:
            if isinstance(said, Promise):
                said.resolve(None)
            elif isinstance(said, tuple):
                status, message, trailers = said
                await context.abort(_CODES[status], message, trailers)
            else:
                await context.write(said)

    def _say(self, said: Any) -> None:
        self._said.put_nowait(said)


class _Handlers(grpc.GenericRpcHandler):
    """Finds a handler by its path; on the wire one answer is a stream of one."""

    def __init__(self, handlers: Mapping[str, Callable[[GrpcioCall, bytes], None]]) -> None:
        self._methods: dict[str, Any] = {
            path: grpc.unary_stream_rpc_method_handler(_answering(handler))
            for path, handler in handlers.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        """Return who answers, None for a path that nobody does."""
        return self._methods.get(handler_call_details.method)


def _answering(handler: Callable[[GrpcioCall, bytes], None]) -> Callable[..., Any]:
    async def answer(message: bytes, context: Context) -> None:
        call = GrpcioCall(peer_uris(context))
        handler(call, message)
        try:
            await call.write_all(context)
        except asyncio.CancelledError:
            if call.on_cancel:
                call.on_cancel()
            raise

    return answer


@asynccontextmanager
async def listening(
    address: str,
    handlers: Mapping[str, Callable[[GrpcioCall, bytes], None]],
    *,
    drain_s: float,
    max_message_bytes: int,
    tls: HopTls | None = None,
) -> AsyncIterator[str]:
    """Answer calls while inside, and yield the address bound."""
    server = grpc_server(
        address,
        add=lambda grpc: grpc.add_generic_rpc_handlers((_Handlers(handlers),)),
        drain_s=drain_s,
        max_message_bytes=max_message_bytes,
        credentials=server_credentials(tls) if tls else None,
    )
    async with server as (bound,):
        yield bound


_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=await call.details(),
    )


def _rpc_error(error: grpc.aio.AioRpcError) -> RpcError:
    details = error.details() or error.code().name
    trailers = {
        name: value if isinstance(value, str) else value.decode("ascii", "replace")
        for name, value in error.trailing_metadata() or ()
    }
    return RpcError(
        Status(error.code().value[0]), details, trailers=trailers, sent=was_sent(details)
    )


def _raise_unless_ours() -> NoReturn:
    """Pass a cancellation on; grpc.aio raises one, too, when a call ends in the wrong moment."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise asyncio.CancelledError
    raise RpcError(Status.UNAVAILABLE, "the call was ended from here", sent=True) from None
