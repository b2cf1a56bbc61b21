"""The backend's HTTP side, for those that speak HTTP to what is behind them.

Any POST is answered by the kind of its path and body; a stream is coalesced or paced by
the model's name, and `max_tokens` long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httptools
import orjson

from bench import canned
from bench.ticker import Ticker
from bench.workloads import EMBEDDINGS, step_of

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
SPANS = b"/v1/traces"  # it is a collector of spans, too
BURST = 8  # frames of a coalesced stream in one write


class HttpBackend(asyncio.Protocol):
    """One connection to the backend."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body: list[bytes] = []
        self._transport: asyncio.Transport
        self._paused = False
        self._resume: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Read requests; what is none ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def pause_writing(self) -> None:
        """Hold a coalesced stream where its reader does not keep up."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with it."""
        self._paused = False
        resume, self._resume = self._resume, None
        if resume:
            resume()

    def on_url(self, url: bytes) -> None:
        """Begin a request."""
        self._path = url.partition(b"?")[0]
        self._body = []

    def on_body(self, data: bytes) -> None:
        """Collect its body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Answer it."""
        if self._parser.get_method() != b"POST":
            self._answer(_about(self._path))
            return
        if self._path == SPANS:
            self._answer(b"")  # taken, all of them
            return
        raw = b"".join(self._body)
        body = orjson.loads(raw) if raw else {}
        model = str(body.get("model", ""))
        if self._path.endswith(b":predict"):
            self._answer(canned.predictions_json())
        elif self._path.endswith(b"embeddings") or model == EMBEDDINGS:
            self._answer(EMBEDDING)
        elif body.get("stream"):
            self._stream(model, body)
        else:
            self._answer(canned.completion_json(model))

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)

    def _stream(self, model: str, body: dict[str, Any]) -> None:
        frames = canned.frames(model, _length(body))
        step_s = step_of(model)
        if step_s:
            Paced(self._transport, self._ticker, frames, step_s)
        else:
            self._transport.write(STREAM)
            self._write(iter(frames))

    def _write(self, frames: Iterator[bytes]) -> None:
        """Write a burst, and the next one in the next turn of the loop."""
        if self._transport.is_closing():
            return
        some = [canned.chunk(each) for each in islice(frames, BURST)]
        last = len(some) < BURST
        self._transport.write(b"".join(some) + (b"0\r\n\r\n" if last else b""))
        if last:
            return
        if self._paused:
            self._resume = lambda: self._write(frames)
        else:
            asyncio.get_running_loop().call_soon(self._write, frames)


class Paced:
    """Writes a frame every so often, from when it was asked; the first and last with others."""

    def __init__(
        self, transport: asyncio.Transport, ticker: Ticker, frames: list[bytes], step_s: float
    ) -> None:
        self._transport = transport
        self._ticker = ticker
        self._pieces = [canned.chunk(each) for each in frames]
        self._pieces[0] = STREAM + self._pieces[0] + self._pieces.pop(1)
        self._pieces[-3:] = [b"".join(self._pieces[-3:]) + b"0\r\n\r\n"]
        self._step_s = step_s
        self._next = time.monotonic()
        self._at = 0
        self._step()

    def _step(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(self._pieces[self._at])
        self._at += 1
        self._next += self._step_s
        if self._at < len(self._pieces):
            self._ticker.at(self._next, self._step)


EMBEDDING = canned.numbers_json()


def _about(path: bytes) -> bytes:
    """Return what routers ask before they route: the models, or that all is well."""
    if path.endswith(b"/models"):
        models = [{"id": "@cf/bench/any", "object": "model", "owned_by": "bench"}]
        return orjson.dumps({"object": "list", "data": models})
    about = {"status": "ok", "model_path": "bench", "model_id": "bench", "is_generation": True}
    return orjson.dumps({**about, "served_model_name": "bench", "dp_size": 1, "version": "0"})


def _length(body: dict[str, Any]) -> int:
    """Return how many tokens were asked for; sglang's router writes the newer name alone."""
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
