"""The collector's front: a Unix socket of its owner's alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from libs.common.rpc import CannotListen, clear_socket
from services.analytics.collector import Collector
from services.analytics.ports import Line


@asynccontextmanager
async def collecting(
    path: Path, collector: Collector, line: Line, *, drain_seconds: float
) -> AsyncIterator[None]:
    """Listen while inside. On leaving, what came is stored and acknowledged, within a bound.

    Raises CannotListen.
    """
    listener = bind(path)
    server = await asyncio.start_unix_server(collector.handle, sock=listener)
    try:
        yield
    finally:
        server.close()
        _remove(path)
        with suppress(TimeoutError):  # the sinks keep what is not stored by then
            await line.flush(drain_seconds)
        await collector.close()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def bind(path: Path) -> socket.socket:
    """Return a socket bound to the path, in place of one whose listener is gone."""
    clear_socket(str(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # before it listens, so nobody else gets in between
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {path}: {error.strerror}") from error
    return listener
