"""The load's connection: one HTTP request at a time, every answer checked."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from bench.workloads import Ask

MARK = b"data: "
MOST_EXTRA = 4  # frames of a stream beside its tokens: the role, the reason, the usage, the end
TOLERANCE = 64  # bytes that two answers may differ by: an id, a date


class WrongAnswer(Exception):
    """What came back is not what was asked for; the measurement means nothing."""


@dataclass(slots=True)
class Check:
    """Holds every answer against the request, and its length against the first one's."""

    ask: Ask
    size: int = 0
    markers: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Write the markers as they come."""
        self.markers = tuple(each.encode() for each in self.ask.markers)

    def answer(self, status: int, body: bytes, frames: int) -> None:
        """Raise WrongAnswer unless it is the right one; `body` is a stream's last piece."""
        if status != 200:
            raise WrongAnswer(f"status {status}: {body[:300]!r}")
        for marker in self.markers:
            if marker not in body:
                raise WrongAnswer(f"there is no {marker!r} in {body[:300]!r}")
        tokens = self.ask.tokens
        if tokens and not tokens <= frames <= tokens + MOST_EXTRA:
            raise WrongAnswer(f"{frames} frames came for {tokens} tokens")
        if not tokens:
            self.size = self.size or len(body)
            if abs(self.size - len(body)) > TOLERANCE:
                raise WrongAnswer(f"{len(body)} bytes came, {self.size} the first time")


class Connection(asyncio.Protocol):
    """Sends one request again and again; `on_done` is called after each right answer."""

    def __init__(self, raw: bytes, check: Check, broken: asyncio.Future[None]) -> None:
        self._raw = raw
        self._check = check
        self._broken = broken
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._tail = b""
        self._is_stream = check.ask.tokens > 0
        self.busy = False
        self.frames = 0
        self.sent_at = 0.0
        self.on_done: Callable[[Connection], None] = _nothing
        self.on_frames: Callable[[int], None] | None = None

    def send(self) -> None:
        """Ask; the connection must be open and idle."""
        if self._transport is None or self.is_closed:
            self._fail(WrongAnswer("the connection was closed between two requests"))
            return
        self.busy = True
        self.frames = 0
        self._tail = b""
        self._pieces.clear()
        self.sent_at = time.monotonic()
        self._transport.write(self._raw)

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self.busy = False
        if self._transport:
            self._transport.abort()

    @property
    def is_closed(self) -> bool:
        """Whether the other side has hung up."""
        return self._transport is None or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no further, as a client that has stopped."""
        assert self._transport
        self._transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Read an answer."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, WrongAnswer) as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail where an answer was awaited."""
        if self.busy:
            self._fail(WrongAnswer(f"the connection was lost before the answer: {error}"))

    def on_body(self, data: bytes) -> None:
        """Count a stream's frames, which may be cut anywhere; keep an answer's bytes."""
        if not self._is_stream:
            self._pieces.append(data)
            return
        text = self._tail + data
        found = text.count(MARK)
        self._tail = text[-(len(MARK) - 1) :]
        self._pieces[:-1] = []
        self._pieces.append(data)
        if found:
            self.frames += found
            if self.on_frames:
                self.on_frames(found)

    def on_message_complete(self) -> None:
        """Check the answer."""
        self.busy = False
        body = b"".join(self._pieces)
        try:
            self._check.answer(self._parser.get_status_code(), body, self.frames)
        except WrongAnswer as error:  # httptools would hide which error it was
            self._fail(error)
            return
        self.on_done(self)

    def _fail(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)


class Pool:
    """Connections to one address; what breaks on one of them is raised from `wait`."""

    def __init__(self, address: str, ask: Ask, *, ca: str = "", sources: int = 1) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._raw = ask.raw(address)
        self._check = Check(ask)
        self._tls = ssl.create_default_context(cafile=ca) if ca else None
        self._sources = sources
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connections: list[Connection] = []

    async def open(self) -> Connection:
        """Connect once more; from another source address where there are several."""
        at = len(self.connections) % self._sources
        source = (f"127.0.0.{at + 1}", 0) if self._sources > 1 else None
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._raw, self._check, self.broken),
            self._host,
            self._port,
            ssl=self._tls,
            local_addr=source,
        )
        self.connections.append(made)
        return made

    async def wait(self, seconds: float) -> None:
        """Wait; raises at once what broke meanwhile."""
        done, _ = await asyncio.wait([self.broken], timeout=seconds)
        if done:
            self.broken.result()

    def ask(self) -> bool:
        """Ask on the next free connection; whether there was one. Raises what broke before.

        Each has its turn: one that is never asked on would be closed by who waits for a request.
        """
        if self.broken.done():
            self.broken.result()
        for _ in self.connections:
            self.connections.append(self.connections.pop(0))
            if not self.connections[-1].busy:
                self.connections[-1].send()
                return True
        return False

    async def drained(self, seconds: float) -> None:
        """Wait until nothing is under way; WrongAnswer if that takes too long."""
        end = time.monotonic() + seconds
        while any(each.busy for each in self.connections):
            if time.monotonic() > end:
                raise WrongAnswer(f"an answer did not end within {seconds:g} s")
            await self.wait(0.02)

    def close(self) -> None:
        """Hang up everywhere."""
        for each in self.connections:
            each.close()
        if self.broken.done() and not self.broken.cancelled():
            self.broken.exception()  # it was seen, or no longer matters


def _nothing(_: Connection) -> None:
    pass
