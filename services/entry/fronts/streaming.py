"""Server-sent events: a status until the first part, an error frame after it, [DONE] always."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from libs.common.errors import Internal, RequestError
from services.entry.calls import Plan
from services.entry.fronts.bodies import SSE_DONE, error_body, sse
from services.entry.fronts.exchange import Exchange
from services.entry.limits import longest_stream_s
from services.entry.tasks.base import Result

HEADERS = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
Frames = Callable[[Sequence[Result]], bytes]
log = logging.getLogger(__name__)


async def stream_answer(
    exchange: Exchange, plan: Plan, stream: AsyncGenerator[list[Result], None], frames: Frames
) -> None:
    """Answer with a stream; leaving early, as when the client does, stops the model."""
    responder = exchange.responder
    async with aclosing(stream):
        results = await anext(stream)
        responder.begin(200, exchange.headers(*HEADERS))
        try:
            async with asyncio.timeout(longest_stream_s(plan.model.timeouts)):
                room = responder.write(frames(results))
                if room is not None:
                    await room
                async for results in stream:
                    room = responder.write(frames(results))
                    if room is not None:
                        await room
        except TimeoutError:
            responder.abort()  # the reader does not read
        except RequestError as error:
            exchange.error = error
        except Exception:
            log.exception("a stream broke for a reason of ours")
            exchange.error = Internal("internal error")
        if exchange.error:
            responder.write(sse(error_body(exchange.error)))
        responder.write(SSE_DONE)
        responder.end()
