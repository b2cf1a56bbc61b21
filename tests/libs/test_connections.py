"""Connections: one client for each address, gone when its server is."""

import asyncio

import pytest

from libs.common.connections import Connections
from libs.common.errors import Unavailable
from libs.common.world_map import Ref, Server, Update
from tests.entry.fakes import FakeServer, small_world
from tests.fakes import put


class FakeClient(FakeServer):
    """A client that knows whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_a_server_of_this_process_is_itself() -> None:
    local = FakeServer()
    connections = Connections(
        world=small_world(), connect=lambda _: FakeClient(), local={"local:a": local}
    )

    assert connections("local:a") is local
    with pytest.raises(Unavailable):
        connections("local:b")


async def test_a_client_is_made_once_and_closed_when_its_server_has_left() -> None:
    world = small_world()
    connections = Connections(world=world, connect=lambda _: FakeClient(), linger_s=0.0)
    put(world, Server(name="a", colo="ams", address="a:1"))
    put(world, Server(name="b", colo="ams", address="b:1"))
    first, other = connections("a:1"), connections("b:1")
    assert connections("a:1") is first

    world.apply(Update(version=99, deletes=(Ref("server", "a"),)))
    await asyncio.sleep(0.01)

    assert isinstance(first, FakeClient)
    assert isinstance(other, FakeClient)
    assert (first.closed, other.closed) == (True, False)
    assert connections("a:1") is not first


async def test_closing_closes_all_even_those_that_linger() -> None:
    world = small_world()
    connections = Connections(world=world, connect=lambda _: FakeClient())
    put(world, Server(name="a", colo="ams", address="a:1"))
    put(world, Server(name="b", colo="ams", address="b:1"))
    clients = [connections("a:1"), connections("b:1")]
    world.apply(Update(version=99, deletes=(Ref("server", "a"),)))

    await connections.close()

    assert all(isinstance(each, FakeClient) and each.closed for each in clients)
