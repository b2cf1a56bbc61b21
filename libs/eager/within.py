"""A bound on how long a block may take, by timers that are shared."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from libs.eager.timers import Timers


class Within:
    """Raises TimeoutError where a block takes too long, as asyncio.timeout does, a tick later.

    with Within(timers, 60.0):
        await ...
    """

    __slots__ = ("_cancelling", "_is_up", "_task", "_timers", "due")

    def __init__(self, timers: Timers, seconds: float) -> None:
        self._timers = timers
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._cancelling = self._task.cancelling()
        self._is_up = False
        self.due = time.monotonic() + seconds

    def __repr__(self) -> str:
        return f"<Within {self.due - time.monotonic():.1f} s>"

    def __enter__(self) -> Within:
        self._timers.add(self)
        return self

    def expire(self) -> None:
        """Hear that the time is up."""
        self._is_up = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Turn our own cancellation into TimeoutError; another's stays what it is."""
        self._timers.discard(self)
        ours = self._is_up and self._task.uncancel() <= self._cancelling
        if ours and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
