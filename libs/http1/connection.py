"""One connection: bytes in, requests to handlers, one after the other.

Bytes that come while a request is being answered wait here, or in the kernel if they are many.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from libs.http1.answers import CONTINUE
from libs.http1.bodies import ChunkedBody, Incoming, SizedBody, too_large
from libs.http1.heads import CHUNKED, RequestLine, check_beginning, head_too_large, stays_open
from libs.http1.lifetime import ANSWER, BODY, GONE, HEAD, IDLE, LEAVING_S, LINGER, Lifetime
from libs.http1.messages import Handler, Refusal, Request
from libs.http1.responder import Responder

if TYPE_CHECKING:
    from libs.http1.core import Core

MOST_WAITING: Final = 64 * 1024  # bytes of later requests
log = logging.getLogger("libs.http1")


class Connection(Lifetime):
    """Owns a transport until it is closed or handed over."""

    __slots__ = ("_discarded",)

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._discarded = 0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse to."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._write_buffer)
        self.peer = _host(transport.get_extra_info("peername"))
        self._core.enter(self)
        if not self._core.accepting:
            self.close_if_idle(LEAVING_S)
        if self._core.is_full():
            self.refuse(Refusal(503, "too_many_connections", "too many connections"))
        elif self._core.has_too_many(self.holder):
            text = "too many connections from this address"
            self.refuse(Refusal(429, "too_many_of_address", text))

    def data_received(self, data: bytes) -> None:
        """Serve requests as they become whole."""
        phase = self._phase
        if phase == BODY or (phase <= HEAD and self._rest is None and not self._write_paused):
            self._serve(data)
        elif phase == HEAD and self._rest is not None:
            self._more_of_head(data, self._rest)
        elif phase <= ANSWER:
            self._set_aside(data)
        elif phase == LINGER:
            self._discard(data)

    def resume_writing(self) -> None:
        """Go on with what waits."""
        super().resume_writing()
        if self._phase == IDLE and self._rest is not None:
            self._loop.call_soon(self._go_on)

    # From bytes to requests.

    def _serve(self, data: bytes) -> None:
        """Take what came, request by request, until one has to wait."""
        size = len(data)
        at = 0
        self._serving = True
        try:
            while at < size:
                if self._phase <= HEAD and not self._write_paused:
                    at = self._request(data, at)
                elif self._phase == BODY:
                    at = self._body(data, at)
                else:
                    break
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception:
            log.exception("a request could not be routed")
            self.refuse(Refusal(500, "internal", "internal error"))
        self._serving = False
        if at < size and self._phase <= ANSWER:
            self._set_aside(data[at:])
        if self._out is not None:
            self.flush()

    def _request(self, data: bytes, at: int) -> int:
        """Take one request, as far as it came; return where it ended."""
        core = self._core
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            return self._begin_head(data, at)
        read = core.reader.read(data[at:end])
        if read is None:  # an empty line before the request
            return at + 2
        line, headers, length = read
        handler = core.route(line.method, line.path) if line.routable else None
        if handler is None:
            return self._hand_over(data, at)
        if "connection" in headers:
            self._keep = stays_open(headers["connection"], old=line.old)
        else:
            self._keep = not line.old
        self._old = line.old
        start = end + 4
        end = start + length
        if "expect" in headers or length == CHUNKED or end > len(data):
            return self._begin_body(handler, line, headers, length, data, start)
        if length > core.limits.max_body_bytes:
            raise too_large(core.limits.max_body_bytes)
        if end < len(data) and self._out is None:
            self._out = []  # more answers may follow, to be written together
        self._handle(handler, line, headers, data[start:end])
        return end

    def _begin_head(self, data: bytes, at: int) -> int:
        while data.startswith(b"\r\n", at):
            at += 2
        if at == len(data):
            return at
        rest = bytearray(data[at:])
        if rest != b"\r":  # what comes next may end an empty line
            self._check_beginning(rest, 0)
        self._rest = rest
        if self._phase == IDLE:
            self._phase = HEAD
            self.due = monotonic() + self._patience(self._core.limits.header_s)
        return len(data)

    def _check_beginning(self, rest: bytearray, known: int) -> None:
        limit = self._core.limits.max_header_bytes
        if len(rest) > limit:
            raise head_too_large(limit)
        check_beginning(rest, known)

    def _more_of_head(self, data: bytes, rest: bytearray) -> None:
        known = len(rest)
        rest += data
        if rest[0] == 13 or rest.find(b"\r\n\r\n", max(0, known - 3)) >= 0:
            self._rest = None
            self._serve(bytes(rest))
            return
        try:
            self._check_beginning(rest, known)
        except Refusal as refusal:
            self.refuse(refusal)

    def _begin_body(
        self,
        handler: Handler,
        line: RequestLine,
        headers: dict[str, str],
        length: int,
        data: bytes,
        start: int,
    ) -> int:
        """Wait for a body, if there may be one; `data` from `start` on belongs to it."""
        limits = self._core.limits
        if headers.get("expect", "100-continue").lower() != "100-continue":
            raise Refusal(417, "expectation", "only 100-continue can be expected")
        if length > limits.max_body_bytes:
            raise too_large(limits.max_body_bytes)
        body = SizedBody(length) if length != CHUNKED else self._chunked()
        self._incoming = Incoming(handler, line, headers, body)
        self._phase = BODY
        self.due = monotonic() + self._patience(limits.body_s)
        if length == 0:
            return self._body(data, start)
        if start == len(data) and "expect" in headers and not line.old:
            self.send(CONTINUE)
        return start

    def _chunked(self) -> ChunkedBody:
        limits = self._core.limits
        return ChunkedBody(
            limit=limits.max_body_bytes,
            trailers=limits.max_header_bytes,
            check_trailer=self._core.reader.check_trailer,
        )

    def _body(self, data: bytes, at: int) -> int:
        incoming = cast(Incoming, self._incoming)
        end = incoming.body.feed(data, at)
        if end < 0:
            return len(data)
        self._incoming = None
        if end < len(data) and self._out is None:
            self._out = []
        self._handle(incoming.handler, incoming.line, incoming.headers, incoming.body.whole())
        return end

    # From requests to handlers, or elsewhere.

    def _handle(
        self, handler: Handler, line: RequestLine, headers: dict[str, str], body: bytes
    ) -> None:
        core = self._core
        core.counters.requests += 1
        self._served += 1
        self._phase = ANSWER
        method, target, path, query, _, _ = line  # by far faster than one by one
        self._responder = responder = Responder(self)
        try:
            handler(Request(method, target, path, query, headers, body, self.peer), responder)
        except (Exception, asyncio.CancelledError):
            log.exception("%s %s failed", method, path)
            self._fail(responder)
        if self._phase == ANSWER:
            self.due = monotonic() + core.limits.write_s

    def _fail(self, responder: Responder) -> None:
        if responder.has_begun:
            responder.abort()
        elif self._responder is responder:
            responder.leave()
            refusal = Refusal(500, "internal", "internal error")
            self.finish(self._core.refusal(refusal, self.persistence()))

    def _hand_over(self, data: bytes, at: int) -> int:
        """Give the connection, and the request from its first byte, to the other protocol."""
        self.flush()
        if self._write_paused:  # the other one could not know
            self._phase = IDLE
            return at
        core, transport = self._core, self._transport
        protocol = core.other()
        self._read_on()
        self._phase = GONE
        core.hand_over(self, transport)
        self._transport = cast(asyncio.Transport, None)
        try:
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            protocol.data_received(data[at:])
        except Exception:
            log.exception("a connection could not be handed over")
            transport.abort()
        return len(data)

    # What comes too early, and too late.

    def _set_aside(self, data: bytes) -> None:
        """Keep it; let the kernel keep the rest if that is much."""
        if self._phase == HEAD:  # whole, but answers are not being read
            self._phase = IDLE
        if self._rest is None:
            self._rest = bytearray(data)
        else:
            self._rest += data
        if not self._read_paused and self._has_enough():
            self._read_paused = True
            self._transport.pause_reading()

    def _has_enough(self) -> bool:
        rest = self._rest
        return rest is not None and (
            len(rest) > MOST_WAITING or rest.count(b"\r\n\r\n") > self._core.limits.max_pipelined
        )

    def _go_on(self) -> None:
        if self._phase != IDLE or self._rest is None or self._write_paused:
            return
        data, self._rest = bytes(self._rest), None
        self._serve(data)
        if self._read_paused and not self._has_enough():
            self._read_on()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > self._core.limits.max_body_bytes and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def _patience(self, seconds: float) -> float:
        return min(seconds, LEAVING_S) if self._core.leaving else seconds


def _host(peername: object) -> str:
    """Return the host of what a socket is connected to, empty for a Unix socket."""
    return str(peername[0]) if isinstance(peername, tuple) else ""
