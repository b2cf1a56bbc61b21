"""Processes of our services that this one keeps alive; they leave when it leaves, however it does.

`Workers` are several of one service on the same ports: the kernel spreads connections over them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from libs.common.addresses import host_port, in_brackets
from libs.common.backoff import Backoff
from libs.common.lifecycle import background
from libs.common.rpc import CannotListen

STEADY_S = 10.0  # a worker that lived this long did not fail at its start
STOP_S = 60.0  # past every drain: what is still there then is killed
log = logging.getLogger(__name__)


class Workers:
    """Keeps `count` processes alive; `command` returns what the one of a number is started with."""

    def __init__(self, command: Callable[[int], Sequence[str]], *, count: int) -> None:
        self._command = command
        self._count = count

    def __repr__(self) -> str:
        return f"<Workers {self._count}>"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Run them while inside; on the way out they drain, all at once."""
        async with AsyncExitStack() as stack:
            tasks = [
                await stack.enter_async_context(
                    background(
                        keep_alive(partial(self._command, number), name=f"worker {number}"),
                        name=f"worker {number}",
                    )
                )
                for number in range(1, self._count + 1)
            ]
            yield f"{self._count} workers"
            for task in tasks:
                task.cancel()


async def keep_alive(
    command: Callable[[], Sequence[str]],
    *,
    name: str,
    nice: int = 0,
    until_end: Callable[[Process], Awaitable[int | None]] | None = None,
) -> None:
    """Run what `command` returns, again and again, until cancelled; then let it drain.

    `until_end` hears what the process prints and returns its exit code, or None to leave it be;
    without it, that goes where this process's own goes. The process steps back by `nice`.
    """
    waits = iter(Backoff())
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        process = await asyncio.create_subprocess_exec(
            *_launched(command(), nice),
            start_new_session=True,
            stdout=PIPE if until_end else None,
        )
        try:
            code = await (until_end(process) if until_end else process.wait())
        except asyncio.CancelledError:
            await _stop(process)
            raise
        if code is None:
            return
        log.warning("%s ended with %s, starting it again", name, code)
        if clock() - began > STEADY_S:
            waits = iter(Backoff())
        await asyncio.sleep(next(waits))


async def _stop(process: Process) -> None:
    """Let it drain, in its own time but not for ever."""
    with suppress(ProcessLookupError):  # it has just ended
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def reserved(*addresses: str) -> AsyncIterator[tuple[str, ...]]:
    """Hold each host:port for workers to share; port 0 becomes one that is free."""
    held: list[socket.socket] = []
    try:
        yield tuple([_hold(address, held) if address else "" for address in addresses])
    finally:
        for each in held:
            each.close()


def _hold(address: str, held: list[socket.socket]) -> str:
    try:
        host, port = host_port(address)
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        held.append(found)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(place)  # bound and not listening: connections go to the workers alone
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CannotListen(f"cannot listen on {address}: {why}") from error
    return f"{in_brackets(host)}:{found.getsockname()[1]}"


def _launched(command: Sequence[str], nice: int) -> list[str]:
    """Return how a command is started so that it ends with this process, even by kill -9."""
    launch = [sys.executable, "-m", "services.node.launch", "--ours", "--parent", str(os.getpid())]
    return [*launch, "--nice", str(nice), "--", *command]
