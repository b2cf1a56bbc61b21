"""A server: listens, hands calls to their handlers, and ends without losing any."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Mapping
from typing import Final

from libs.eager import Timers
from libs.lean.addresses import unix_path
from libs.lean.limits import Limits
from libs.lean.listening import bind
from libs.lean.probing import probe
from libs.lean.server_call import Handler
from libs.lean.server_connection import ServerConnection

BACKLOG: Final = 1024
PARTING_S: Final = 2.0  # for the transports to close; they are aborted in less


class Server:
    """Handlers by their methods' paths, for as many addresses as wanted."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handlers = dict(handlers)
        self._limits = limits or Limits()
        self._tls = tls
        self._timers = Timers()
        self._listeners: list[asyncio.Server] = []
        self._paths: list[tuple[str, int]] = []  # of Unix sockets, and their inodes
        self._connections: set[ServerConnection] = set()
        self._all_gone: asyncio.Event = asyncio.Event()
        self._is_closed = False

    def __repr__(self) -> str:
        calls = sum(len(each.streams) for each in self._connections)
        state = "closed" if self._is_closed else "open"
        return f"<Server {state} connections={len(self._connections)} calls={calls}>"

    async def listen(self, address: str) -> str:
        """Take connections; return the address with its real port. Raises OSError."""
        loop = asyncio.get_running_loop()
        sockets, bound = bind(address)
        path = unix_path(address)
        if path is not None:
            self._paths.append((path, os.stat(path).st_ino))
        for each in sockets:
            if path is None:
                probe(each, self._limits.silence_s)  # connections inherit it
                listener = await loop.create_server(
                    self._connection, sock=each, backlog=BACKLOG, ssl=self._tls
                )
            else:
                listener = await loop.create_unix_server(
                    self._connection, sock=each, backlog=BACKLOG, ssl=self._tls
                )
            self._listeners.append(listener)
        return bound

    async def close(self, drain_s: float) -> None:
        """Take no more calls, let those in flight end for so long, then cancel them."""
        self._is_closed = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._remove_paths()
        for connection in list(self._connections):
            connection.drain()
        await self._wait(drain_s)
        for connection in list(self._connections):
            connection.shut_down()
        await self._wait(PARTING_S)

    async def _wait(self, seconds: float) -> None:
        if self._connections:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._all_gone.wait()

    def _remove_paths(self) -> None:
        for path, inode in self._paths:
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        self._paths.clear()

    def _connection(self) -> ServerConnection:
        loop = asyncio.get_running_loop()
        return ServerConnection(
            self._handlers, self._limits, loop, self._timers, self._connections.add, self._gone
        )

    def _gone(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()
