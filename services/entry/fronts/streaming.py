"""Server-sent events: a status until the first part, an error frame after it, [DONE] always."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from libs.common.errors import DeadlineExceeded, Internal, RequestError
from libs.eager import Promise, Within
from services.entry.calls import Plan
from services.entry.fronts.bodies import SSE_DONE, error_body, sse
from services.entry.fronts.exchange import Exchange
from services.entry.gateway import Gateway, Show
from services.entry.limits import longest_stream_s
from services.entry.tasks.base import Shown

HEADERS: Final = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
Frames = Callable[[Sequence[Shown]], bytes]


def error_frame(error: RequestError) -> bytes:
    """Return the event that tells an error."""
    return sse(error_body(error))


log = logging.getLogger(__name__)


async def stream_answer(exchange: Exchange, gateway: Gateway, plan: Plan, frames: Frames) -> None:
    """Answer with a stream; leaving early, as when the client does, stops the model."""
    work = gateway.stream(plan, shown_as(exchange, frames))
    await streamed(exchange, work, longest_stream_s(plan.model.timeouts))


def shown_as(exchange: Exchange, frames: Frames) -> Show:
    """Return what writes results as frames, after a 200 with the first of them."""
    responder = exchange.responder

    def show(shown: Sequence[Shown]) -> Promise[None] | None:
        if not responder.has_begun:
            responder.begin(200, exchange.headers(*HEADERS))
        return responder.write(frames(shown))

    return show


async def streamed(
    exchange: Exchange,
    work: Coroutine[Any, Any, None],
    longest_s: float,
    broken: Callable[[RequestError], bytes] = error_frame,
) -> None:
    """Answer with what the work writes; `broken` tells an error after the first of it."""
    responder = exchange.responder
    try:
        with Within(exchange.timers, longest_s):
            await work
    except TimeoutError as error:
        if not responder.has_begun:
            raise DeadlineExceeded("the stream did not begin in time", sent=True) from error
        responder.abort()  # the reader does not read
        return
    except Exception as error:
        if not responder.has_begun:
            raise
        exchange.error = _told(error)
        responder.write(broken(exchange.error))
    responder.write(SSE_DONE)
    responder.end()


def _told(error: Exception) -> RequestError:
    """Return what the client is told of why its stream broke."""
    if isinstance(error, RequestError):
        return error
    log.error("a stream broke for a reason of ours", exc_info=error)
    return Internal("internal error")
