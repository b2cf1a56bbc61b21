"""Servers by address: an object in this process, or one client for each address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from libs.common.clients.inference import RemoteInference
from libs.common.errors import ServerLost
from libs.common.hop_tls import HopTls
from libs.common.hops import Transport, connect
from libs.common.ports import Inference
from libs.common.world import World
from libs.common.world_map import Server

LOCAL: Final = "local:"
# A server that is cut off is silent: calls in flight are given up after both of these. One that
# works answers a PING in time, even where it must share its processor with many.
KEEPALIVE_S: Final = 2.0
KEEPALIVE_TIMEOUT_S: Final = 4.0


class Client(Inference, Protocol):
    """A server in another process."""

    async def close(self) -> None:
        """Close the connection; calls in flight fail."""
        ...


def over(transport: Transport, tls: HopTls | None) -> Callable[[str], Client]:
    """Return what connects to a server in another process."""

    def client(address: str) -> Client:
        channel = connect(
            address,
            transport=transport,
            tls=tls,
            keepalive_s=KEEPALIVE_S,
            keepalive_timeout_s=KEEPALIVE_TIMEOUT_S,
        )
        return RemoteInference(address, channel)

    return client


class Connections:
    """Finds the server behind an address; forgets those that have left the world."""

    def __init__(
        self,
        *,
        world: World,
        connect: Callable[[str], Client],
        local: Mapping[str, Inference] | None = None,
        linger_s: float = 600.0,
    ) -> None:
        """Take the objects of this process by address, and how to connect to all others.

        A client of a server that left lives `linger_s` on, so that no answer is cut off.
        """
        self._world = world
        self._connect = connect
        self._local = {} if local is None else local
        self._linger_s = linger_s
        self._clients: dict[str, Client] = {}
        self._closing: dict[asyncio.Task[None], Client] = {}
        world.listen(lambda _: self._forget_the_gone())

    def __repr__(self) -> str:
        sizes = f"local={len(self._local)} clients={len(self._clients)}"
        return f"<Connections {sizes} closing={len(self._closing)}>"

    def __call__(self, address: str) -> Inference:
        """Return the server at an address; connections are made when first used."""
        if address in self._local:
            return self._local[address]
        if address.startswith(LOCAL):
            raise ServerLost(f"there is no server {address} in this process")
        if address not in self._clients:
            self._clients[address] = self._connect(address)
        return self._clients[address]

    async def close(self) -> None:
        """Close everything now."""
        for task in self._closing:
            task.cancel()
        clients = [*self._clients.values(), *self._closing.values()]
        self._clients.clear()
        self._closing.clear()
        for client in clients:
            await client.close()

    def _forget_the_gone(self) -> None:
        if not self._clients:
            return
        live = {server.address for server in self._world.table(Server).values()}
        for address in self._clients.keys() - live:
            client = self._clients.pop(address)
            task = asyncio.create_task(self._close_later(client), name=f"close {address}")
            self._closing[task] = client
            task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def _close_later(self, client: Client) -> None:
        await asyncio.sleep(self._linger_s)
        await client.close()
