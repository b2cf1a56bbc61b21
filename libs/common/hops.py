"""How our processes call one another and Triton: one interface, over either of two transports.

`lean` is our own HTTP/2 and costs a twentieth of `grpcio`; on the wire they are the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from libs import lean
from libs.common import grpcio_hops
from libs.common.addresses import host_port
from libs.common.rpc import MAX_MESSAGE_BYTES, CannotListen, clear_socket
from libs.eager import Promise
from libs.lean import Method

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


@dataclass(frozen=True, slots=True, kw_only=True)
class HopTls:
    """Who we are and whom we trust, on hops between machines: PEM files, both ways."""

    cert: Path
    key: Path
    ca: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Return whom we trust, then who we are."""
        return self.ca, self.cert, self.key


def hop_tls(cert: Path | None, key: Path | None, ca: Path | None) -> HopTls | None:
    """Return the three files, None for none of them.

    CannotListen for a part of them, and for a file that cannot be read.
    """
    if not (cert or key or ca):
        return None
    if not (cert and key and ca):
        raise CannotListen("hop_cert, hop_key and hop_ca belong together: expected all or none")
    for path in (cert, key, ca):
        check_readable(path)
    return HopTls(cert=cert, key=key, ca=ca)


def check_readable(path: Path) -> None:
    """Raise CannotListen, with the file's name, for one that cannot be read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise CannotListen(f"{path}: {error.strerror}") from error


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

    Many streams' data are read together, at most every `coalesce_s`; a call waits at most
    `connect_s` for a connection (lean only: grpcio's calls fail when an attempt does).
    """
    tls = None if address.startswith(UNIX) else tls
    if transport == "grpcio":
        return grpcio_hops.GrpcioChannel(address, tls.files if tls else None, keepalive_s)
    context = lean.client_context(tls.ca, tls.cert, tls.key) if tls else None
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
    coalesce_s: float = 0.0,
    tls: HopTls | None = None,
) -> AsyncIterator[str]:
    """Answer calls while inside, and yield the address bound. Raises CannotListen.

    Streams' data are written together, at most every `coalesce_s` (lean only).
    """
    tls = None if address.startswith(UNIX) else tls
    if transport == "grpcio":
        listen = grpcio_hops.listening(
            address,
            handlers,
            drain_s=drain_s,
            max_message_bytes=max_message_bytes,
            tls=tls.files if tls else None,
        )
        async with listen as bound:
            yield bound
        return
    server = lean.Server(
        handlers,
        limits=lean.Limits(max_message_bytes=max_message_bytes, coalesce_s=coalesce_s),
        tls=lean.server_context(tls.cert, tls.key, tls.ca) if tls else None,
    )
    try:
        yield await _listen(server, address)
    finally:
        await server.close(drain_s)


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
