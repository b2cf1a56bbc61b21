"""A relay before a real server: hangs, dawdles or resets where the server cannot be made to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Fault = Literal["none", "hang", "slow", "reset"]
SLOW_S = 0.5
RESET = struct.pack("ii", 1, 0)  # close at once, and lose what was not sent


class Relay:
    """Passes bytes between its clients and one address, unless told otherwise."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._fault: Fault = "none"
        self._changed = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def become(self, fault: Fault) -> None:
        """Behave so from now on."""
        async with self._changed:
            self._fault = fault
            self._changed.notify_all()
        if fault == "reset":
            for writer in list(self._writers):
                _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        self._writers.add(writer)
        try:
            if self._fault == "reset":
                _reset(writer)
                return
            their_reader, their_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(
                self._pass(reader, their_writer, delayed=False),
                self._pass(their_reader, writer, delayed=True),
            )
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                async with self._changed:
                    await self._changed.wait_for(lambda: self._fault != "hang")
                if delayed and self._fault == "slow":
                    await asyncio.sleep(SLOW_S)
                writer.write(data)
                await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@asynccontextmanager
async def relaying(target: str) -> AsyncIterator[Relay]:
    """Relay to an address while inside."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        await relay.become("reset")
