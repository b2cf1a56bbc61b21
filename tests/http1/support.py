"""A server with a few hot routes and aiohttp behind it, and clients that speak raw HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from libs.http1 import Handler, HttpServer, Limits, Refusal, Request, Responder, TlsFiles

JSON = [("Content-Type", "application/json")]
GET_COLD = b"GET /cold HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Answer:
    """What a client read."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A running server, and what its handlers saw."""

    server: HttpServer
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    responders: list[Responder] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    cold: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def route(self, method: str, path: str) -> Handler | None:
        if method not in ("POST", "GET", "HEAD", "OPTIONS") or not path.startswith("/hot"):
            return None
        found: Handler | None = getattr(self, f"on_{path.split('/')[-1]}", self.on_echo)
        return found

    def on_echo(self, request: Request, responder: Responder) -> None:
        self.requests.append(request)
        told = {
            "method": request.method,
            "target": request.target,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "body": request.body.decode("latin-1"),
        }
        responder.answer(200, JSON, json.dumps(told).encode())

    def on_wait(self, request: Request, responder: Responder) -> None:
        """Leave the answer to the test."""
        self.requests.append(request)
        self.responders.append(responder)
        responder.on_gone = lambda: self.gone.append(request.path)

    def on_soon(self, request: Request, responder: Responder) -> None:
        self.requests.append(request)
        body = request.body or b"soon"
        asyncio.get_running_loop().call_later(0.005, responder.answer, 200, JSON, body)

    def on_stream(self, request: Request, responder: Responder) -> None:
        responder.begin(200, [("Content-Type", "text/event-stream")])
        for part in (b"one", b"two", b"three"):
            responder.write(part)
        responder.end()

    def on_raise(self, request: Request, responder: Responder) -> None:
        raise RuntimeError("on purpose")

    def on_large(self, request: Request, responder: Responder) -> None:
        responder.answer(200, JSON, b"x" * int(request.query))

    async def on_cold(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.cold.append(request.path)
        told = {"cold": request.path_qs, "method": request.method, "body": body.decode("latin-1")}
        answer = web.json_response(told)
        answer.force_close()
        return answer


def refused(refusal: Refusal) -> tuple[int, list[tuple[str, str]], bytes]:
    return refusal.status, JSON, json.dumps([refusal.reason, refusal.message]).encode()


@asynccontextmanager
async def a_site(
    *, tls: TlsFiles | None = None, drain_s: float = 0.2, **limits: Any
) -> AsyncIterator[Site]:
    site: Site

    async def answer_cold(request: web.Request) -> web.StreamResponse:
        return await site.on_cold(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer_cold)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server
    server = HttpServer(
        route=lambda method, path: site.route(method, path),
        other=runner.server,
        refuse=refused,
        limits=Limits(**limits),
    )
    site = Site(server)
    site.port = await server.listen("127.0.0.1", 0, tls=tls)
    try:
        yield site
    finally:
        await server.close(drain_s)
        await runner.cleanup()
        await asyncio.sleep(0)


@dataclass
class Client:
    """A connection that says what it is told to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, seconds: float = 5) -> Answer:
        async with asyncio.timeout(seconds):
            return await read_answer(self.reader)

    async def rest(self, *, seconds: float = 5) -> bytes:
        """Return what comes until the server closes."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def a_client(site: Site, **options: Any) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, **options)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers: dict[str, str] = {}
    for line in head[1:-2]:
        name, value = line.split(": ", 1)
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value
    if status in (100, 204, 304):
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await _chunks(reader))
    if "content-length" in headers:
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
    return Answer(status, headers, await reader.read())


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return body


def post(
    path: str = "/hot/echo", body: bytes = b"hello", *lines: str, version: str = "1.1"
) -> bytes:
    extra = "".join(f"{line}\r\n" for line in lines)
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode("utf-8", "surrogateescape") + body


def raw_post(*lines: str, body: bytes = b"", first: str = "POST /hot/echo HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("utf-8", "surrogateescape") + body
