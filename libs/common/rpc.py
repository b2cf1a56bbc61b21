"""What all servers and clients on grpcio share: errors, addresses, channel settings.

Addresses are host:port or unix:/path.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeAlias

import grpc

from libs.common.addresses import LONGEST_UNIX_PATH, host_port
from libs.common.errors import Internal, RequestError
from libs.common.statuses import error_from, message_of, trailers_of

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Options: TypeAlias = list[tuple[str, Any]]

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
NOT_SENT: Final = (  # what gRPC says of a call that never left
    "failed to connect",
    "Connection refused",
    "No such file",
    "connections to all backends failing",
)
log = logging.getLogger(__name__)


class CannotListen(OSError):
    """An address cannot be listened on: in use, not ours, or a path too long."""


async def abort(context: Context, error: RequestError) -> NoReturn:
    """End the call with the status and trailers that belong to the error."""
    status = grpc.StatusCode[error.status]
    await context.abort(status, message_of(error), trailers_of(error))
    raise AssertionError("abort returns only by raising")


@asynccontextmanager
async def statuses(context: Context) -> AsyncIterator[None]:
    """Inside it, a RequestError becomes the call's status, and a bug INTERNAL without details."""
    try:
        yield
    except RequestError as error:
        await abort(context, error)
    except grpc.aio.AbortError:
        raise
    except Exception:
        log.exception("a call failed for a reason of ours")
        await abort(context, Internal("internal error"))


def request_error(error: grpc.aio.AioRpcError) -> RequestError:
    """Return the error that the other side raised, or what its loss means."""
    trailers = {name: _text(value) for name, value in error.trailing_metadata() or ()}
    return error_from(error.code().name, error.details() or error.code().name, trailers)


def was_sent(details: str) -> bool:
    """Whether a call that was lost, by what gRPC says of it, may have reached the other side."""
    return not any(words in details for words in NOT_SENT)


def raise_from(error: grpc.aio.AioRpcError) -> NoReturn:
    """Raise what the other side raised, with the call's own failure as its cause."""
    raise request_error(error) from error


def channel(
    address: str,
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    credentials: grpc.ChannelCredentials | None = None,
    keepalive_s: float = 10.0,
) -> grpc.aio.Channel:
    """Return a channel that opens itself at the first call, and again soon after a loss."""
    options: Options = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", 3_000),  # despite its name: the time to connect in
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_http_proxy", 0),
    ]
    options += _sizes(max_message_bytes, max_message_bytes)
    if credentials:
        return grpc.aio.secure_channel(address, credentials, options=options)
    return grpc.aio.insecure_channel(address, options=options)


@asynccontextmanager
async def grpc_server(
    *addresses: str,
    add: Callable[[grpc.aio.Server], None],
    drain_s: float = 5.0,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    max_received_bytes: int = MAX_MESSAGE_BYTES,
    credentials: grpc.ServerCredentials | None = None,
    guard: grpc.aio.ServerInterceptor | None = None,
    reuse_port: bool = False,
) -> AsyncIterator[tuple[str, ...]]:
    """Listen while inside, yielding the addresses bound; calls in flight get `drain_s` to end.

    `add` registers the services. A Unix socket is its owner's alone, and never encrypted.
    Raises CannotListen.
    """
    most = max_message_bytes, min(max_message_bytes, max_received_bytes)
    server = grpc.aio.server(
        interceptors=(guard,) if guard else (), options=_server_options(*most, reuse_port)
    )
    add(server)
    bound = tuple([_bind(server, address, credentials, reuse_port) for address in addresses])
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(drain_s)


def _bind(
    server: grpc.aio.Server,
    address: str,
    credentials: grpc.ServerCredentials | None,
    reuse_port: bool,
) -> str:
    """Bind one address; return it with the port that it was given."""
    path = address.removeprefix("unix:")
    if path != address:
        clear_socket(path)
    elif not reuse_port:
        _probe(address)
    try:
        if credentials and path == address:
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address}: in use, or not ours") from error
    if path != address:
        os.chmod(path, 0o600)
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _probe(address: str) -> None:
    """Raise CannotListen for what cannot be bound; gRPC would print lines of its own as well."""
    try:
        host, port = host_port(address)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CannotListen(f"cannot listen on {address}: {why}") from error
    failed: list[OSError] = []
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as error:
            failed.append(error)
    # a name may stand for several addresses, of which gRPC takes what there is
    taken = [each for each in failed if each.errno == errno.EADDRINUSE]
    if taken or len(failed) == len(found):
        why = "the port is in use" if taken else failed[0].strerror
        raise CannotListen(f"cannot listen on {address}: {why}") from (taken or failed)[0]


def clear_socket(path: str) -> None:
    """Remove the socket of a server that is gone; refuse that of one that lives."""
    if len(os.fsencode(path)) > LONGEST_UNIX_PATH:
        raise CannotListen(f"cannot listen on {path}: longer than {LONGEST_UNIX_PATH} bytes")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is alive, too
        found = probe.connect_ex(path)
    if found == errno.ECONNREFUSED and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)
    elif found != errno.ENOENT:
        raise CannotListen(f"cannot listen on {path}: another process does, or it is no socket")


def _server_options(max_sent_bytes: int, max_received_bytes: int, reuse_port: bool) -> Options:
    return [
        # unless it is wanted, a second server would take half of the connections
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        *_sizes(max_sent_bytes, max_received_bytes),
    ]


def _sizes(max_sent_bytes: int, max_received_bytes: int) -> Options:
    return [
        ("grpc.max_send_message_length", max_sent_bytes),
        ("grpc.max_receive_message_length", max_received_bytes),
    ]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")
