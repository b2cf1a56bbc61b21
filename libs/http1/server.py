"""The server: listens, counts, and leaves without cutting anybody short."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from libs.http1.connection import Connection
from libs.http1.core import Core, Counters
from libs.http1.lifetime import LEAVING_S
from libs.http1.limits import Limits
from libs.http1.messages import Answer, Handler, Refusal
from libs.http1.tls import TlsFiles

BACKLOG = 4096
TLS_HANDSHAKE_S = 10.0
TLS_GOODBYE_S = 3.0


class HttpServer:
    """Serves the routes itself, and hands connections with any other request over.

    `route` is asked with method and decoded path when a request's head is whole; None means
    `other`, whose protocol gets the connection with all bytes of the request, for good.
    `refuse` makes the answers to what is refused before it is a request. `holder` says whom a
    peer's connections are counted with, of which one may have `max_per_address`; empty: nobody.
    """

    def __init__(
        self,
        *,
        route: Callable[[str, str], Handler | None],
        other: Callable[[], asyncio.Protocol],
        refuse: Callable[[Refusal], Answer],
        limits: Limits | None = None,
        holder: Callable[[str], str] = str,
    ) -> None:
        limits = limits or Limits()
        self._core = Core(route=route, other=other, refuse=refuse, limits=limits, holder=holder)
        self._listening: list[asyncio.Server] = []

    def __repr__(self) -> str:
        return f"<HttpServer {len(self._listening)} ports, {self._core!r}>"

    @property
    def counters(self) -> Counters:
        """Return what is counted; the same object always."""
        return self._core.counters

    def connection(self) -> Connection:
        """Return the protocol of a new connection, in the loop that runs."""
        self._core.loop = asyncio.get_running_loop()
        return Connection(self._core)

    async def listen(
        self, host: str, port: int, *, reuse_port: bool = False, tls: TlsFiles | None = None
    ) -> int:
        """Listen on one more address; return its port. Raises OSError."""
        context = tls.context() if tls else None
        sockets = bound_sockets(host, port, reuse_port=reuse_port)
        try:
            for each in sockets:
                self._listening.append(await self._serve(each, context))
        except BaseException:
            for each in sockets:
                each.close()
            raise
        return int(sockets[0].getsockname()[1])

    async def stop_accepting(self) -> None:
        """Take no more connections; close the others after their answer, or soon if idle."""
        self._core.accepting = False
        for server in self._listening:
            server.close()
        self._listening.clear()
        for connection in list(self._core.connections):
            connection.close_if_idle(LEAVING_S)

    async def close(self, drain_s: float) -> None:
        """Wait until all is answered, at most `drain_s`; then drop what is left."""
        await self.stop_accepting()
        core = self._core
        core.leaving = True
        for connection in list(core.connections):
            connection.hurry(min(drain_s, LEAVING_S))
        if not await self._is_empty_within(drain_s):
            for connection in list(core.connections):
                connection.abandon()
            await self._is_empty_within(TLS_GOODBYE_S)

    async def _serve(self, sock: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if context is None:
            return await loop.create_server(self.connection, sock=sock, backlog=BACKLOG)
        return await loop.create_server(
            self.connection,
            sock=sock,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=TLS_HANDSHAKE_S,
            ssl_shutdown_timeout=TLS_GOODBYE_S,
        )

    async def _is_empty_within(self, seconds: float) -> bool:
        core = self._core
        core.empty = asyncio.Event()
        if not core.connections:
            return True
        try:
            async with asyncio.timeout(seconds):
                await core.empty.wait()
        except TimeoutError:
            return False
        return True


def bound_sockets(host: str, port: int, *, reuse_port: bool) -> list[socket.socket]:
    """Return sockets for all addresses of the host, on one port. Raises OSError.

    "::" takes IPv6 only, as asyncio does; call `listen` twice for both.
    """
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            _set_up(sock, reuse_port=reuse_port)
            sock.bind((address[0], port, *address[2:]))
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _set_up(sock: socket.socket, *, reuse_port: bool) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
