"""One way to call either client, so that one test holds for both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from constellation_client import AI, AsyncAI

from tests.entry.fakes import SECRET, FakeServer, listening


class Waits:
    """The same calls of either client, awaited: the sync one runs in a thread."""

    def __init__(self, client: AI | AsyncAI) -> None:
        self.client = client

    async def __call__(self, name: str, *args: Any, **rest: Any) -> Any:
        method = getattr(self.client, name)
        if inspect.iscoroutinefunction(method):
            return await method(*args, **rest)
        return await asyncio.to_thread(method, *args, **rest)

    async def run(self, *args: Any, **rest: Any) -> Any:
        return await self("run", *args, **rest)

    async def parts(self, *args: Any, **rest: Any) -> list[Any]:
        stream = await self.run(*args, stream=True, **rest)
        if isinstance(self.client, AI):
            return await asyncio.to_thread(list, stream)
        return [each async for each in stream]


@asynccontextmanager
async def calling(kind: Any, server: FakeServer, **rest: Any) -> AsyncIterator[Waits]:
    entry = rest.pop("entry", {})
    async with listening(server, http="", grpc="127.0.0.1:0", **entry) as bound:
        address = bound.grpc.replace("127.0.0.1", "localhost") if entry else bound.grpc
        client = kind(address, **{"token": SECRET, "timeout": 5.0} | rest)
        waits = Waits(client)
        try:
            yield waits
        finally:
            await waits("close")
