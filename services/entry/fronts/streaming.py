"""Server-sent events: a status until the first part, an error frame after it, [DONE] always."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aiohttp import web

from libs.common.errors import Internal, RequestError
from services.entry.calls import Plan
from services.entry.fronts.bodies import SSE_DONE, error_body, sse
from services.entry.fronts.exchange import Exchange
from services.entry.limits import longest_stream_s
from services.entry.tasks.base import Result

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
Frames = Callable[[Result], bytes]
log = logging.getLogger(__name__)


async def stream_answer(
    exchange: Exchange, plan: Plan, results: AsyncGenerator[Result, None], frames: Frames
) -> None:
    """Answer with a stream; leaving early, as when the client does, stops the model."""
    async with aclosing(results):
        frame: bytes | None = frames(await anext(results))
        response = web.StreamResponse(headers={**HEADERS, **exchange.headers()})
        exchange.response = response
        try:
            async with asyncio.timeout(longest_stream_s(plan.model.timeouts)):
                await response.prepare(exchange.request)
                while frame is not None:
                    if frame:  # a part may have nothing to show
                        await response.write(frame)
                    frame = await _next(exchange, results, frames)
                await response.write(SSE_DONE)
                await response.write_eof()
        except TimeoutError:
            _hang_up(exchange)


async def _next(
    exchange: Exchange, results: AsyncGenerator[Result, None], frames: Frames
) -> bytes | None:
    """Return the next frame, which says so if the stream broke; None at its end."""
    try:
        return frames(await anext(results))
    except StopAsyncIteration:
        return None
    except RequestError as error:
        exchange.counted.error = error
    except Exception:
        log.exception("a stream broke for a reason of ours")
        exchange.counted.error = Internal("internal error")
    return sse(error_body(exchange.counted.error))


def _hang_up(exchange: Exchange) -> None:
    """Close the connection of a reader that does not read."""
    transport = exchange.request.transport
    if transport:
        transport.abort()
