"""How a connection lasts and ends: its time bounds, its last words, and who hears that it is gone.

All time bounds are one number, `due`, which the server's timers look at.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from libs.http1.answers import CLOSE, KEEP, AnswerHeads
from libs.http1.messages import Refusal
from libs.http1.outgoing import Outgoing

if TYPE_CHECKING:
    import asyncio

    from libs.http1.bodies import Incoming
    from libs.http1.core import Core
    from libs.http1.responder import Responder

# What is waited for, in this order.
IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
ANSWER: Final = 3
LINGER: Final = 4
CLOSING: Final = 5
GONE: Final = 6
PHASES: Final = ("idle", "head", "body", "answer", "linger", "closing", "gone")
LINGER_S: Final = 1.0  # for the last answer to be read: whoever hangs up at once may take it back
LEAVING_S = 0.5  # what is on its way still gets when the server leaves
log = logging.getLogger("libs.http1")


class Lifetime(Outgoing, ABC):
    """A connection without the reading of requests."""

    __slots__ = (
        "_core",
        "_incoming",
        "_keep",
        "_old",
        "_ours",
        "_phase",
        "_read_paused",
        "_responder",
        "_rest",
        "_served",
        "due",
        "heads",
        "holder",
        "peer",
    )

    def __init__(self, core: Core) -> None:
        super().__init__(core.loop, core.limits.write_buffer)
        self._core = core
        self.heads: AnswerHeads = core.heads
        self.due = monotonic() + core.limits.header_s
        self._phase = HEAD
        self._rest: bytearray | None = None  # bytes that came and were not read yet
        self._incoming: Incoming | None = None  # the request whose body is on its way
        self._responder: Responder | None = None  # who answers now
        self._served = 0
        self._keep = True  # another request may come after this one
        self._ours = False  # it is we who want no other
        self._old = False  # HTTP/1.0
        self.peer = ""  # the address at the other end
        self.holder = ""  # who has this one of the connections per address; empty: nobody
        self._read_paused = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {PHASES[self._phase]} served={self._served}>"

    # What the transport and the timers call.

    def eof_received(self) -> bool:
        """Take a client that sends no more for one that has left, as aiohttp does."""
        if self._phase != GONE:
            self.flush()
            self._closing()
            self._tell_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything."""
        if self._phase == GONE:
            return
        self._phase = GONE
        self._core.leave(self)
        self._out = self._rest = self._incoming = None
        self._transport = cast("asyncio.Transport", None)
        self._tell_gone()

    def pause_writing(self) -> None:
        """Give the client `write_s` to read on."""
        super().pause_writing()
        if self._phase in (IDLE, ANSWER, CLOSING):
            self.due = monotonic() + self._core.limits.write_s

    def expire(self) -> None:
        """Act on a time bound."""
        if self._is_unasked() and not self._core.accepting:
            self._close()
        elif self._phase in (HEAD, BODY):
            self.refuse(_too_late(self._phase, leaving=self._core.leaving))
        elif self._phase == LINGER:
            self._close()
        elif self._is_stuck():
            self.abandon()
        elif self._phase == IDLE and not self._has_unsent():
            self._close()
        else:
            self.due = monotonic() + self._core.limits.write_s
        if self._phase != GONE:
            self._core.timers.add(self)

    # What the server calls.

    def close_if_idle(self, seconds: float) -> None:
        """Close unless a request begins within so long: one may be on its way."""
        if self._is_unasked():
            self.due = min(self.due, monotonic() + seconds)

    def hurry(self, seconds: float) -> None:
        """Wait no longer than that for a request that is on its way."""
        if self._phase in (HEAD, BODY):
            self.due = min(self.due, monotonic() + seconds)

    def abandon(self) -> None:
        """Drop the connection, and tell who still answers."""
        if self._phase != GONE:
            self._out = None
            self._closing()
            self._transport.abort()
            self._tell_gone()

    # What responders call.

    @property
    def speaks_chunked(self) -> bool:
        """Whether the client understands chunks."""
        return not self._old

    def persistence(self, *, streaming: bool = False) -> bytes:
        """Decide whether the connection outlives this answer; return the header that says so."""
        core = self._core
        if streaming and self._old:
            self._keep = False  # its end is the connection's
        if self._keep:
            if core.accepting and self._served != core.limits.max_requests:
                return KEEP if self._old else b""
            self._keep = False
            self._ours = True
        return CLOSE

    def finish(self, data: bytes) -> None:
        """Send the end of an answer; go on, or close."""
        self._responder = None
        if self._out is None and self._phase == ANSWER:  # nothing else is to be written with it
            self._write(data)
        else:
            self.send_last(data)
        if self._phase != ANSWER:
            return
        if self._keep and self._core.accepting:
            limits = self._core.limits
            self._phase = IDLE
            self.due = monotonic() + (limits.write_s if self._write_paused else limits.idle_s)
            if self._rest is not None and not self._serving:
                self._loop.call_soon(self._go_on)
        elif self._keep or self._ours:  # it is we who end it, so the client may go on sending
            self._linger()
        else:
            self._close()

    def drop(self) -> None:
        """Close without sending what is left."""
        self._responder = None
        self._out = None
        self._closing()
        self._transport.abort()
        self._make_room()

    # The ends.

    def refuse(self, refusal: Refusal) -> None:
        """Answer that this is no request, and take no other."""
        self._incoming = None
        self.send(self._core.refusal(refusal, CLOSE))
        self._linger()

    def _linger(self) -> None:
        """Say that no more comes, and read over what does, so that the answer is not lost."""
        self.flush()
        self._rest = None
        self._phase = LINGER
        self.due = monotonic() + LINGER_S
        self._read_on()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _is_unasked(self) -> bool:
        return self._phase <= HEAD and self._rest is None

    def _close(self) -> None:
        self.flush()
        self._closing()
        self._transport.close()

    def _closing(self) -> None:
        self._phase = CLOSING
        self._rest = self._incoming = None
        self.due = monotonic() + self._core.limits.write_s

    def _tell_gone(self) -> None:
        """Tell the one who answers that nobody hears it."""
        responder, self._responder = self._responder, None
        told = responder.leave() if responder is not None else None
        if told is not None:
            try:
                told()
            except Exception:
                log.exception("what is to happen when a client leaves failed")
        self._make_room()

    def _read_on(self) -> None:
        if self._read_paused and self._phase < CLOSING:
            self._read_paused = False
            self._transport.resume_reading()

    @abstractmethod
    def _go_on(self) -> None:
        """Serve what was set aside."""


def _too_late(phase: int, *, leaving: bool) -> Refusal:
    what = "headers" if phase == HEAD else "body"
    if leaving:
        return Refusal(503, "leaving", f"the server is leaving, and the {what} had not come")
    return Refusal(408, f"slow_{what}", f"the {what} did not come in time")
