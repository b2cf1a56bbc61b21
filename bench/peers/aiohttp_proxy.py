"""A plain proxy as most people would write one: aiohttp on both sides, bytes passed on."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

NOT_PASSED_ON = ("host", "connection", "transfer-encoding", "content-length", "keep-alive")


class Proxy:
    """Passes requests on to one backend."""

    def __init__(self, backend: str) -> None:
        self._backend = f"http://{backend}"
        self._session: ClientSession

    async def session(self, app: web.Application) -> AsyncIterator[None]:
        """Keep connections while the application runs."""
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as session:
            self._session = session
            yield

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Ask the backend, and answer with what it says."""
        headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_PASSED_ON}
        body = await request.read()
        url = self._backend + request.path_qs
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in NOT_PASSED_ON}
            if answer.content_length is not None:
                return web.Response(body=await answer.read(), status=answer.status, headers=headers)
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backend", required=True)
    arguments = parser.parse_args()
    proxy = Proxy(arguments.backend)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{rest:.*}", proxy.pass_on)
    app.cleanup_ctx.append(proxy.session)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=arguments.port, access_log=None, backlog=4096)


if __name__ == "__main__":
    main()
