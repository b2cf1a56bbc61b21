"""The console's picture of the world: once, or as a stream of what changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from aiohttp import web

from libs.common.errors import RequestError, TooManyViewers
from libs.common.world_map import Token
from services.entry.auth import Auth
from services.entry.fronts.bodies import JSON, error_body, error_headers, to_json
from services.entry.fronts.console_views import CODES, Sections, Views, changed, object_of
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics

PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
EVENTS: Final = {**PRIVATE, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
RETRY_MS: Final = 5000


class ConsoleWorld:
    """Shows a token the world; no more than `most_streams` watch at once."""

    def __init__(
        self,
        *,
        views: Views,
        gateway: Gateway,
        auth: Auth,
        metrics: EntryMetrics,
        every_s: float,
        write_s: float,
        most_streams: int,
    ) -> None:
        self._views = views
        self._gateway = gateway
        self._auth = auth
        self._metrics = metrics
        self._every_s = every_s
        self._write_s = write_s
        self._most_streams = most_streams
        self._open = 0
        self._leaving = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ConsoleWorld {self._open}/{self._most_streams} streams>"

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [
            web.get("/console/api/world", self.world),
            web.get("/console/api/world/stream", self.stream),
        ]

    def leave(self) -> None:
        """End every stream, now: who watches asks another entry."""
        self._leaving.set()

    async def world(self, request: web.Request) -> web.StreamResponse:
        """Show everything once."""
        try:
            sections = await self._sections(self._caller(request))
        except RequestError as error:
            return _refused(error)
        return web.Response(
            body=object_of(sections, list(sections)), content_type=JSON, headers=PRIVATE
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Show everything, then what has changed, again and again."""
        try:
            token = self._caller(request)
            with self._place():
                return await self._send(request, self._frames(request, token))
        except RequestError as error:
            return _refused(error)

    async def _send(
        self, request: web.Request, frames: AsyncGenerator[bytes, None]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=EVENTS)
        await response.prepare(request)
        try:
            async with aclosing(frames):
                async for frame in frames:
                    async with asyncio.timeout(self._write_s):
                        await response.write(frame)
        except TimeoutError:  # it reads nothing: its connection is not worth keeping
            if request.transport is not None:
                request.transport.close()
        return response

    async def _frames(self, request: web.Request, token: Token) -> AsyncGenerator[bytes, None]:
        """Yield a frame each time, if only with the moment, until entry or the token leaves."""
        sent: Sections = {}
        while not self._leaving.is_set():
            sections = await self._sections(token)
            yield b"data: " + object_of(sections, changed(sections, sent)) + b"\n\n"
            sent = sections
            try:
                async with asyncio.timeout(self._every_s):
                    await self._leaving.wait()
            except TimeoutError:
                pass
            try:
                token = self._auth.caller(request.headers, scope="read", peer=request.remote or "")
            except RequestError as error:
                yield b"event: end\ndata: " + to_json(error_body(error)) + b"\n\n"
                return

    async def _sections(self, token: Token) -> Sections:
        views = self._views
        whole = await views.sections(token)
        return {"now": views.now(), "me": views.me(token), "codes": CODES, **whole}

    def _caller(self, request: web.Request) -> Token:
        """Authenticate, counted as any request is."""
        with self._metrics.request(self._gateway.colo, f"{request.method} {request.path}"):
            return self._auth.caller(request.headers, scope="read", peer=request.remote or "")

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._open >= self._most_streams:
            raise TooManyViewers(
                f"{self._open} consoles are watching this entry, and no more may",
                retry_after_ms=RETRY_MS,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def _refused(error: RequestError) -> web.Response:
    return web.Response(
        body=to_json(error_body(error)),
        status=error.http,
        content_type=JSON,
        headers={**PRIVATE, **error_headers(error)},
    )
