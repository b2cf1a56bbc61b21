"""Getting a connection, and not trying too often."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Final

from libs.lean.addresses import host_port, unix_path
from libs.lean.client import ClientConnection
from libs.lean.probing import probe

FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 1.0
JITTER: Final = 0.2  # of each backoff, so that many clients do not come all at once
# What another attempt will hardly change so soon: whoever waits should rather know.
CERTAIN: Final = (
    ConnectionRefusedError,
    FileNotFoundError,
    socket.gaierror,
    ssl.SSLError,
    UnicodeError,
)


class Connector:
    """Makes attempts as long as a connection is wanted."""

    def __init__(
        self,
        attempt: Callable[[], Awaitable[ClientConnection]],
        *,
        is_wanted: Callable[[], bool],
        on_connected: Callable[[ClientConnection], None],
        on_failed: Callable[[], None],
    ) -> None:
        self.trouble = "not connected yet"
        self._attempt = attempt
        self._is_wanted = is_wanted
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._task: asyncio.Task[None] | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._not_before = 0.0
        self._is_certain = False

    def __repr__(self) -> str:
        return f"<Connector {'at work' if self.is_at_work else 'idle'}: {self.trouble}>"

    @property
    def is_at_work(self) -> bool:
        """Whether an attempt is under way, or to come."""
        return self._task is not None

    def is_hopeless(self) -> bool:
        """Whether the last attempt has failed so that waiting for the next one is of no use."""
        return self._is_certain and time.monotonic() < self._not_before

    def want(self) -> None:
        """Go to work."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name=repr(self))

    async def stop(self) -> None:
        """Make no more attempts."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        try:
            while self._is_wanted():
                now = time.monotonic()
                if now < self._not_before:
                    await asyncio.sleep(self._not_before - now)
                    continue
                self._not_before = now + self._backoff_s * random.uniform(1 - JITTER, 1 + JITTER)
                await self._try()
        finally:
            self._task = None

    async def _try(self) -> None:
        try:
            connection = await self._attempt()
        except (OSError, UnicodeError) as error:  # a timeout is the one, a host of ".." the other
            self._backoff_s = min(self._backoff_s * 2, LONGEST_BACKOFF_S)
            self._is_certain = isinstance(error, CERTAIN)
            self.trouble = str(error) or type(error).__name__
            if self._is_certain:
                self._on_failed()
        else:
            self._backoff_s = FIRST_BACKOFF_S
            self._is_certain = False
            self.trouble = "the connection was lost"
            self._on_connected(connection)


async def connect(
    address: str,
    make: Callable[[], ClientConnection],
    *,
    tls: ssl.SSLContext | None,
    server_hostname: str | None,
    timeout_s: float,
    silence_s: float,
) -> ClientConnection:
    """Return a connection over which the server's SETTINGS have come. Raises OSError.

    It breaks where the server's kernel acknowledges nothing for `silence_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _reach(address, make, tls, server_hostname, silence_s)
            try:
                await asyncio.shield(connection.opened)
            except asyncio.CancelledError:
                connection.close("it took too long")
                connection.abort()
                raise
    except TimeoutError as error:
        raise TimeoutError(f"no connection within {timeout_s:g} s") from error
    if not connection.takes_calls():
        raise ConnectionError(connection.reason)
    return connection


async def _reach(
    address: str,
    make: Callable[[], ClientConnection],
    tls: ssl.SSLContext | None,
    server_hostname: str | None,
    silence_s: float,
) -> ClientConnection:
    loop = asyncio.get_running_loop()
    path = unix_path(address)
    if path is not None:
        name = server_hostname or "localhost" if tls else None
        _, reached = await loop.create_unix_connection(make, path, ssl=tls, server_hostname=name)
        return reached
    host, port = host_port(address)
    name = server_hostname or host if tls else None
    failed: list[OSError] = []
    for *_, place in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            transport, reached = await loop.create_connection(
                make, str(place[0]), port, ssl=tls, server_hostname=name
            )
        except OSError as error:
            failed.append(error)
        else:
            probe(transport.get_extra_info("socket"), silence_s)
            return reached
    uncertain = [error for error in failed if not isinstance(error, CERTAIN)]
    raise (uncertain or failed)[0]
