"""Starting and stopping a process: signals in, orderly shutdown out."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from libs.common.promptness import be_prompt

Task: TypeAlias = asyncio.Task[None]

YOUNG_OBJECTS = 10_000  # made since the last collection; Python's own 700 are a few requests
log = logging.getLogger(__name__)


async def run_until_signalled(app: AbstractAsyncContextManager[object]) -> None:
    """Enter the app, wait for SIGINT or SIGTERM, leave it.

    A signal that comes while the app is still being entered ends it, too.
    """
    task = asyncio.current_task()
    stop = asyncio.Event()
    entered = False

    def on_signal() -> None:
        stop.set()
        if not entered and task:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        async with background(be_prompt(), name="promptness"), app:
            entered = True
            leave_startup_to_rest()
            await stop.wait()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        gc.unfreeze()  # else what was spared would be reported as leaked


def leave_startup_to_rest() -> None:
    """Spare the garbage collector what was made at the start: it stays until the end.

    Going over it again and again would cost every request a tenth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


class Broken(Exception):
    """Work in the background ended, which what it stood behind cannot do without."""


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[Task]:
    """Run `work` beside what is inside; on leaving cancel it and wait for its end.

    Work that fails is logged at once and ends what is inside, with Broken: half a
    process that looks alive is worse than one that is started again.
    """
    inside = asyncio.current_task()
    task = asyncio.create_task(work, name=name)

    def on_end(ended: Task) -> None:
        if not ended.cancelled() and (error := ended.exception()):
            log.critical("%s ended: this is a bug", name, exc_info=error)
            if inside:
                inside.cancel()

    task.add_done_callback(on_end)
    try:
        yield task
    except asyncio.CancelledError:
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise Broken(f"{name} ended: {error!r}") from error
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
