"""Several calls that are answered together: each is a call like any other, with its own permit."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from libs.eager import Promise
from services.entry.calls import Answer, Plan
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.openai_frames import ChoiceFrames, usage_chunk
from services.entry.fronts.streaming import shown_as, streamed
from services.entry.gateway import Gateway, Show
from services.entry.limits import longest_stream_s
from services.entry.tasks.base import Result, Shown

T = TypeVar("T")


async def run_all(gateway: Gateway, plans: Sequence[Plan]) -> list[Result]:
    """Run all plans at once, and return their results in order; one that fails ends them all."""
    return [answer.result for answer in await answer_all(gateway, plans)]


async def answer_all(gateway: Gateway, plans: Sequence[Plan]) -> list[Answer]:
    """Run all plans at once, and return their answers in order."""
    return await together([gateway.run(plan) for plan in plans])


async def stream_all(
    exchange: Exchange,
    gateway: Gateway,
    plans: Sequence[Plan],
    frames: Sequence[ChoiceFrames],
    includes_usage: bool,
) -> None:
    """Answer with the streams of all plans in one; at last with the usage, where that is wanted."""
    room = SharedRoom()

    async def work() -> None:
        pairs = zip(plans, frames, strict=True)
        shows = [(plan, room.shared(shown_as(exchange, each))) for plan, each in pairs]
        await together([stream_of(gateway, plan, show) for plan, show in shows])
        if includes_usage:
            usages = [each.usage for each in frames]
            exchange.responder.write(usage_chunk(frames[0].head, usages))

    await streamed(exchange, work(), max(longest_stream_s(plan.model.timeouts) for plan in plans))


async def stream_of(gateway: Gateway, plan: Plan, show: Show) -> None:
    """Show what the plan brings, in one piece where its task does not stream."""
    if plan.request.stream:
        await gateway.stream(plan, show)
        return
    answer = await gateway.run(plan)
    room = show([answer.result])
    if room is not None:
        await room


class SharedRoom:
    """Lets each of several streams wait for a slow reader: a promise has one who waits for it."""

    def __init__(self) -> None:
        self._promised: Promise[None] | None = None
        self._waiting: list[Promise[None]] = []

    def __repr__(self) -> str:
        return f"<SharedRoom waited for by {len(self._waiting)}>"

    def shared(self, show: Show) -> Show:
        """Return what shows the same, with promises of its own."""

        def shown(results: Sequence[Shown]) -> Promise[None] | None:
            promised = show(results)
            return None if promised is None else self._own(promised)

        return shown

    def _own(self, promised: Promise[None]) -> Promise[None]:
        own: Promise[None] = Promise(asyncio.get_running_loop())
        self._waiting.append(own)
        if promised is not self._promised:
            self._promised = promised
            promised.add_done_callback(self._has_room)
        return own

    def _has_room(self, _: object) -> None:
        waiting, self._waiting = self._waiting, []
        for own in waiting:
            own.resolve(None)


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what all return; the first that fails, or our own end, cancels the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
