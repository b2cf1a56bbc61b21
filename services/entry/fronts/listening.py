"""The HTTP port: hot routes on the fast path, all others by aiohttp, until entry leaves."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from libs.common.addresses import host_port, in_brackets
from libs.common.rpc import CannotListen
from libs.http1 import HttpServer, Limits, TlsFiles
from services.entry.fronts.cors import Cors
from services.entry.fronts.hot import HotRoutes

THEIRS = (HttpProcessingError, web.RequestPayloadError, ClientConnectionResetError)


@asynccontextmanager
async def http_server(
    *,
    hot: HotRoutes,
    others: Iterable[web.RouteDef],
    limits: Limits,
    drain_s: float,
    cors: Cors | None = None,
    middlewares: Iterable[Middleware] = (),
    holder: Callable[[str], str] = str,
) -> AsyncIterator[HttpServer]:
    """Answer while inside what `listen` lets in; on leaving, open exchanges get `drain_s`."""
    app = web.Application(client_max_size=limits.max_body_bytes, middlewares=tuple(middlewares))
    app.add_routes(others)
    app.on_response_prepare.append(_hang_up)
    if cors is not None:
        app.on_response_prepare.append(partial(_with_cors, cors))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_quiet_logger(),
        handler_cancellation=True,
        shutdown_timeout=drain_s / 2,  # waited twice: for the handlers to end, and to cancel them
    )
    await runner.setup()
    assert runner.server is not None
    server = HttpServer(
        route=hot.route, other=runner.server, refuse=hot.refuse, limits=limits, holder=holder
    )
    try:
        yield server
    finally:
        await server.stop_accepting()
        await server.close(drain_s)
        await runner.cleanup()


async def listen(
    server: HttpServer, address: str, *, tls: TlsFiles | None, reuse_port: bool
) -> str:
    """Listen on host:port, and return it with the port that it was given. Raises CannotListen."""
    try:
        host, port = host_port(address)  # an empty host would listen to the whole world
        port = await server.listen(host, port, tls=tls, reuse_port=reuse_port)
    except ValueError as error:
        raise CannotListen(f"cannot listen on {address}: {error}") from error
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or error
        raise CannotListen(f"cannot listen on {address}: {why}") from error
    return f"{in_brackets(host)}:{port}"


async def _hang_up(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """End the connection: aiohttp has it now, and the next request may be for a hot route."""
    response.force_close()
    response.headers["Connection"] = "close"  # the headers are made before this is called
    response.headers.pop("Server", None)


async def _with_cors(cors: Cors, request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Say what a page of another site may see."""
    origin = request.headers.get("Origin", "")
    if origin and "Access-Control-Allow-Origin" not in response.headers:
        response.headers.update(cors.headers(origin, request.path))


def _quiet_logger() -> logging.Logger:
    """Return a logger for aiohttp, silent about clients that leave or that send broken HTTP."""
    logger = logging.getLogger("services.entry.http")
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, THEIRS)
