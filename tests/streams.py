"""Streams as tests like to read them: one item at a time, and no more is made meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, TypeVar

from libs.common.envelope import InferRequest, Parts
from libs.common.ports import Inference
from libs.eager import Promise
from services.entry.calls import Plan
from services.entry.gateway import Gateway
from services.entry.tasks.base import Result, results

T = TypeVar("T")
Give = Callable[[T], Promise[None]]


async def pulled(run: Callable[[Give[T]], Coroutine[Any, Any, None]]) -> AsyncGenerator[T, None]:
    """Yield what `run` gives away, each before it may go on; leaving cancels it."""
    given: asyncio.Queue[tuple[T, Promise[None]] | None] = asyncio.Queue()

    def give(item: T) -> Promise[None]:
        taken: Promise[None] = Promise(asyncio.get_running_loop())
        given.put_nowait((item, taken))
        return taken

    task = asyncio.create_task(run(give))
    task.add_done_callback(lambda _: given.put_nowait(None))
    try:
        while pair := await given.get():
            yield pair[0]
            pair[1].resolve(None)
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


def parts_of(server: Inference, request: InferRequest) -> AsyncGenerator[Parts, None]:
    """Run a request, and yield its parts; the last has the outcome, and no payloads."""

    async def run(give: Give[Parts]) -> None:
        outcome = await server.stream(request, lambda payloads: give(Parts(payloads)))
        await give(Parts((), outcome))

    return pulled(run)


def results_of(gateway: Gateway, plan: Plan) -> AsyncGenerator[Sequence[Result], None]:
    """Run a plan, and yield what the client sees: a result for each part that says something."""

    async def run(give: Give[Sequence[Result]]) -> None:
        await gateway.stream(plan, lambda shown: give([*chain(*map(results, shown))]))

    return pulled(run)
