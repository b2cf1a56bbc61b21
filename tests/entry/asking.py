"""One request of an entry over a fake server, by aiohttp or byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from yarl import URL

from libs.common.world import World
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, FakeServer, listening

RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT}"
AUTH = {"Authorization": f"Bearer {SECRET}"}


class Asked:
    """What came back."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def frames(self) -> list[Any]:
        """The events, the last of which must be [DONE]."""
        *events, done, rest = self.body.split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        return [orjson.loads(each.removeprefix(b"data: ")) for each in events]


async def ask(
    server: FakeServer,
    path: str = RUN,
    *,
    method: str = "POST",
    json: Any = None,
    data: Any = None,
    headers: dict[str, str] | None = None,
    world: World | None = None,
    **config: Any,
) -> Asked:
    """Make one request of an entry over the server."""
    if json is not None:
        data = orjson.dumps(json)
    async with listening(server, world=world, **config) as bound, aiohttp.ClientSession() as client:
        url = URL(f"http://{bound.http}{path}", encoded=True)
        async with client.request(
            method, url, data=data, headers=AUTH if headers is None else headers
        ) as response:
            return Asked(response.status, response.headers, await response.read())


@asynccontextmanager
async def posting(
    address: str, body: bytes, headers: bytes = b"", *, length: int = 0
) -> AsyncIterator[asyncio.StreamReader]:
    """Post these very bytes by hand, and hang up on leaving."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {RUN} HTTP/1.1\r\nHost: x\r\nX-Auth-Key: {SECRET}\r\n".encode() + headers
    writer.write(head + b"Content-Length: %d\r\n\r\n" % (length or len(body)) + body)
    try:
        yield reader
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
