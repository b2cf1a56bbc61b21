"""A relay before an entry, in a thread of its own: the browser's loop is that of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from tests.system.relay import Fault, Relay, relaying


class Cutting:
    """Tells the relay from the test's thread how to behave."""

    def __init__(self, loop: asyncio.AbstractEventLoop, relay: Relay) -> None:
        self._loop = loop
        self._relay = relay
        self.address = relay.address

    def become(self, fault: Fault) -> None:
        asyncio.run_coroutine_threadsafe(self._relay.become(fault), self._loop).result(5)


@contextmanager
def relayed(port: int) -> Iterator[Cutting]:
    """Relay to a port of this machine while inside."""
    found: list[Cutting] = []
    ready, over = Event(), asyncio.Event()

    async def run() -> None:
        async with relaying(f"127.0.0.1:{port}") as relay:
            found.append(Cutting(asyncio.get_running_loop(), relay))
            ready.set()
            await over.wait()
            await relay.become("reset")
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            if rest:
                await asyncio.wait(rest, timeout=5)  # until each has closed both of its ends

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(5)
        yield found[0]
    finally:
        found[0]._loop.call_soon_threadsafe(over.set)
        thread.join(10)
