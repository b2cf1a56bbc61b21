"""Listening: several addresses, shared ports, and errors that pass."""

import asyncio
import errno
import socket

import pytest

from libs.http1 import HttpServer
from tests.http1.support import Site, a_client, a_site, post, refused


def no_other() -> asyncio.Protocol:
    raise AssertionError


def a_server(site_of: list[Site]) -> HttpServer:
    server = HttpServer(route=lambda *a: site_of[0].route(*a), other=no_other, refuse=refused)
    site_of.append(Site(server))
    return server


@pytest.mark.parametrize(
    ("host", "connect_to"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("localhost", "127.0.0.1")],
)
async def test_it_listens_where_it_is_told(host: str, connect_to: str) -> None:
    sites: list[Site] = []
    server = a_server(sites)
    try:
        port = await server.listen(host, 0)
    except OSError as error:
        if ":" in host and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            pytest.skip("needs IPv6")
        raise
    reader, writer = await asyncio.open_connection(connect_to, port)
    writer.write(post())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await server.close(1)

    assert head.startswith(b"HTTP/1.1 200")


async def test_two_addresses_are_one_server() -> None:
    async with a_site() as site:
        first, second = site.port, await site.server.listen("127.0.0.1", 0)
        for port in (first, second):
            site.port = port
            async with a_client(site) as client:
                client.send(post())
                assert (await client.answer()).status == 200

        assert site.server.counters.accepted == 2


async def test_a_port_in_use_is_an_error() -> None:
    async with a_site() as site:
        with pytest.raises(OSError, match="in use") as raised:
            await site.server.listen("127.0.0.1", site.port)

        assert raised.value.errno == errno.EADDRINUSE


async def test_a_host_that_is_none_is_an_error() -> None:
    async with a_site() as site:
        with pytest.raises(OSError):  # noqa: PT011 - each system says it in its own words
            await site.server.listen("no.such.host.invalid", 0)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
async def test_two_servers_share_a_port() -> None:
    sites: list[Site] = []
    first, second = a_server(sites), a_server(sites)
    port = await first.listen("127.0.0.1", 0, reuse_port=True)
    assert await second.listen("127.0.0.1", port, reuse_port=True) == port
    for _ in range(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post())
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
    counts = first.counters.accepted, second.counters.accepted
    await first.close(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await second.close(1)

    assert sum(counts) == 60
    assert min(counts) > 0
    assert head.startswith(b"HTTP/1.1 200")


async def test_a_server_that_never_listened_closes() -> None:
    await a_server([]).close(1)
