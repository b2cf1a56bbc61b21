"""Server-sent events: a status until the first part, an error frame after it, [DONE] always."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from libs.common.errors import DeadlineExceeded, Internal, RequestError
from libs.eager import Promise, Within
from services.entry.calls import Plan
from services.entry.fronts.bodies import SSE_DONE, error_body, sse
from services.entry.fronts.exchange import Exchange
from services.entry.gateway import Gateway
from services.entry.limits import longest_stream_s
from services.entry.tasks.base import Shown

HEADERS = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
Frames = Callable[[Sequence[Shown]], bytes]
log = logging.getLogger(__name__)


async def stream_answer(exchange: Exchange, gateway: Gateway, plan: Plan, frames: Frames) -> None:
    """Answer with a stream; leaving early, as when the client does, stops the model."""
    responder = exchange.responder

    def show(shown: Sequence[Shown]) -> Promise[None] | None:
        if not responder.has_begun:
            responder.begin(200, exchange.headers(*HEADERS))
        return responder.write(frames(shown))

    try:
        with Within(exchange.timers, longest_stream_s(plan.model.timeouts)):
            await gateway.stream(plan, show)
    except TimeoutError as error:
        if not responder.has_begun:
            raise DeadlineExceeded("the stream did not begin in time", sent=True) from error
        responder.abort()  # the reader does not read
        return
    except Exception as error:
        if not responder.has_begun:
            raise
        exchange.error = _told(error)
        responder.write(sse(error_body(exchange.error)))
    responder.write(SSE_DONE)
    responder.end()


def _told(error: Exception) -> RequestError:
    """Return what the client is told of why its stream broke."""
    if isinstance(error, RequestError):
        return error
    log.error("a stream broke for a reason of ours", exc_info=error)
    return Internal("internal error")
