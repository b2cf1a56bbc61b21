"""Work that is finished even if the one who waits for it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Await the work to its end; who is cancelled meanwhile is so only then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def in_thread(work: Callable[[], T]) -> T:
    """Run what blocks in a thread, and never leave it behind at work."""
    return await finish(asyncio.to_thread(work))
