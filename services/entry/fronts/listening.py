"""The HTTP port: aiohttp, set up so that clients that leave and servers that leave are seen."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import HttpProcessingError

from libs.common.rpc import CannotListen

THEIRS = (HttpProcessingError, web.RequestPayloadError, ClientConnectionResetError)


class HttpServer:
    """A port that is listened on, or none."""

    def __init__(self, runner: web.AppRunner, asked: str) -> None:
        self._runner = runner
        found = runner.addresses
        self.address = f"{asked.rpartition(':')[0]}:{found[0][1]}" if found else ""

    def __repr__(self) -> str:
        return f"<HttpServer {self.address or 'nowhere'}>"

    async def stop_accepting(self) -> None:
        """Take no more connections; those that are there go on."""
        for site in self._runner.sites:
            await site.stop()


@asynccontextmanager
async def http_server(
    address: str, *, routes: Iterable[web.RouteDef], max_body_bytes: int, drain_s: float
) -> AsyncIterator[HttpServer]:
    """Listen on host:port while inside, nowhere if it is empty. Raises CannotListen."""
    app = web.Application(client_max_size=max_body_bytes)
    app.add_routes(routes)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_quiet_logger(),
        handler_cancellation=True,
        auto_decompress=False,  # else what it cannot read never reaches a front of ours
        shutdown_timeout=drain_s / 2,  # waited twice: for the handlers to end, and to cancel them
    )
    await runner.setup()
    try:
        if address:
            await _listen(runner, address)
        yield HttpServer(runner, address)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():  # an empty host would listen to the whole world
        raise CannotListen(f"cannot listen on {address}: expected host:port")
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else str(error)
        raise CannotListen(f"cannot listen on {address}: {why}") from error


def _quiet_logger() -> logging.Logger:
    """Return a logger for aiohttp, silent about clients that leave or that send broken HTTP."""
    logger = logging.getLogger("services.entry.http")
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, THEIRS)
