"""How our processes call one another and Triton: one interface, over either of two transports.

`lean` is our own HTTP/2 and costs a twentieth of `grpcio`; on the wire they are the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Protocol

from libs import lean
from libs.common import grpcio_hops
from libs.common.addresses import host_port
from libs.common.errors import WrongRole
from libs.common.hop_tls import HopTls
from libs.common.identities import refusal
from libs.common.rpc import MAX_MESSAGE_BYTES, CannotListen, clear_socket
from libs.common.statuses import message_of, trailers_of
from libs.eager import Promise
from libs.lean import Method, Status
from libs.live_tls import live_context

Transport = Literal["lean", "grpcio"]
UNIX = "unix:"
CONNECT_S = 3.0
KEEPALIVE_S = 10.0  # of silence in a call, until the other side is asked whether it is there
KEEPALIVE_TIMEOUT_S = 5.0  # for its answer (lean only; grpcio has one of its own)


Sink = Callable[[list[bytes]], Promise[None] | None]


class Stream(Protocol):
    """The answers to one call; `due` (monotonic seconds) bounds the next of them."""

    due: float

    def read(self) -> Awaitable[list[bytes]]:
        """Wait for messages, and return all that have come; none at the end. RpcError."""
        ...

    def forward(self, sink: Sink) -> Awaitable[None]:
        """Call `sink` with messages as they come, and wait for the end. Raises RpcError.

        What the sink returns, if anything, is waited for before the next call.
        """
        ...

    def cancel(self) -> None:
        """Stop the call, unless it has ended."""
        ...


class Channel(Protocol):
    """Calls one address; connects when it must, and again after a loss."""

    def unary(
        self, method: Method, message: Sequence[bytes], *, timeout_s: float
    ) -> Awaitable[bytes]:
        """Send the chunks as one message, and wait for one answer. Raises RpcError."""
        ...

    def stream(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> Stream:
        """Send the chunks as one message, and return the answers as they come."""
        ...

    async def close(self) -> None:
        """Let go of the connection; calls in flight fail as UNAVAILABLE."""
        ...


class ServerCall(Protocol):
    """A call to answer: once by `finish`, or by any number of `send` and an `end`; or `fail`."""

    on_cancel: Callable[[], object] | None

    @property
    def peer_uris(self) -> tuple[str, ...]:
        """Whom the caller's certificate names as URIs; nothing where it has shown none."""
        ...

    def finish(self, message: Sequence[bytes]) -> None:
        """Send the chunks as the one answer, and end well."""
        ...

    def send(self, messages: Sequence[bytes]) -> Promise[None] | None:
        """Send messages; what is returned, if anything, is to be waited for before the next."""
        ...

    def end(self) -> None:
        """End well."""
        ...

    def fail(self, status: int, message: str, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """End badly."""
        ...


Handler = Callable[[ServerCall, bytes], None]
Handlers = Mapping[str, Handler]


def connect(
    address: str,
    *,
    transport: Transport = "lean",
    tls: HopTls | None = None,
    keepalive_s: float = KEEPALIVE_S,
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
    coalesce_s: float = 0.0,
    connect_s: float = CONNECT_S,
) -> Channel:
    """Return a channel; nothing is opened yet. A Unix socket is never encrypted.

    While many streams bring small parts, the loop rests `coalesce_s` after each read; a call
    waits at most `connect_s` for a connection (lean only: grpcio's calls fail when an attempt
    does).
    """
    tls = None if address.startswith(UNIX) else tls
    if transport == "grpcio":
        return grpcio_hops.GrpcioChannel(address, tls, keepalive_s)
    context = live_context(tls.client_context, tls.files) if tls else None
    limits = lean.Limits(
        keepalive_s=keepalive_s,
        keepalive_timeout_s=keepalive_timeout_s,
        coalesce_s=coalesce_s,
        connect_s=connect_s,
    )
    return lean.Channel(address, tls=context, limits=limits)


@asynccontextmanager
async def listening(
    address: str,
    handlers: Handlers,
    *,
    transport: Transport = "lean",
    drain_s: float = 5.0,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    tls: HopTls | None = None,
    roles: Collection[str] = (),
) -> AsyncIterator[str]:
    """Answer calls while inside, and yield the address bound. Raises CannotListen.

    With `tls`, who calls must show a certificate; one of `roles`, if there are some.
    """
    tls = None if address.startswith(UNIX) else tls
    if tls and roles:
        handlers = {path: _only(roles, path, each) for path, each in handlers.items()}
    if transport == "grpcio":
        listen = grpcio_hops.listening(
            address,
            handlers,
            drain_s=drain_s,
            max_message_bytes=max_message_bytes,
            tls=tls,
        )
        async with listen as bound:
            yield bound
        return
    server = lean.Server(
        handlers,
        limits=lean.Limits(max_message_bytes=max_message_bytes),
        tls=live_context(tls.server_context, tls.files) if tls else None,
    )
    try:
        yield await _listen(server, address)
    finally:
        await server.close(drain_s)


def _only(roles: Collection[str], path: str, handler: Handler) -> Handler:
    """Return what refuses callers of other roles."""

    def handle(call: ServerCall, message: bytes) -> None:
        why = refusal(call.peer_uris, roles, f"call {path}")
        if not why:
            handler(call, message)
            return
        error = WrongRole(why)
        call.fail(Status[error.status], message_of(error), trailers_of(error))

    return handle


async def _listen(server: lean.Server, address: str) -> str:
    try:
        if address.startswith(UNIX):
            clear_socket(address.removeprefix(UNIX))
        else:
            host_port(address)
        return await server.listen(address)
    except CannotListen:
        raise
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise CannotListen(f"cannot listen on {address}: {why}") from error
