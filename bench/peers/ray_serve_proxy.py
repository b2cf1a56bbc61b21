"""Ray Serve as a gateway: one replica behind its HTTP proxy that passes requests on.

Runs in Ray's own environment.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from ray import serve  # type: ignore[import-not-found]
from starlette.requests import Request  # type: ignore[import-not-found]
from starlette.responses import Response, StreamingResponse  # type: ignore[import-not-found]


@serve.deployment(num_replicas=1, max_ongoing_requests=1024)
class Proxy:
    """Passes requests on to one backend."""

    def __init__(self, backend: str) -> None:
        self._backend = f"http://{backend}"
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Any:
        """Ask the backend, and answer with what it says."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        url = self._backend + request.url.path
        answer = await self._session.post(url, data=await request.body())
        if answer.content_length is not None:
            return Response(await answer.read(), answer.status, media_type=answer.content_type)
        return StreamingResponse(_pieces(answer), media_type=answer.content_type)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backend", required=True)
    arguments = parser.parse_args()
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    made = Proxy.bind(arguments.backend)  # type: ignore[attr-defined]  # the decorator adds it
    serve.run(made, name="bench", route_prefix="/")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
