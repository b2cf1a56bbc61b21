"""A value that comes later, for one who waits.

An eager task that waits is resumed inside of `resolve`, without a turn of the loop;
any other task by the loop, as from a future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Waiter(Protocol):
    """A task that can be resumed at once."""

    def resume(self) -> None:
        """Go on, now; a tick later where another task is running."""
        ...


class Promise(Generic[T]):
    """Resolved, failed or cancelled once; what comes after that is ignored.

    `on_cancel` is called when the one who waits is cancelled. The loop is that of who waits:
    to ask for the running one costs as much as all the rest, and mostly nobody needs it.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_error",
        "_loop",
        "_value",
        "done",
        "on_cancel",
        "waiter",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        on_cancel: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callback: tuple[Callable[[Any], object], Context | None] | None = None
        self.waiter: Waiter | None = None
        self.on_cancel = on_cancel
        self.done = False

    def __repr__(self) -> str:
        state = "pending" if not self.done else repr(self._error) if self._error else "resolved"
        return f"<Promise {state}>"

    def resolve(self, value: T) -> None:
        """Give the value to who waits."""
        if self.done:
            return
        self._value = value
        waiter = self.waiter
        if waiter is None:
            self._settle()
        else:  # as mostly
            self.done = True
            self.waiter = self.on_cancel = None
            waiter.resume()

    def fail(self, error: BaseException) -> None:
        """Raise the error where somebody waits."""
        if not self.done:
            self._error = error
            self._settle()

    def cancel(self, msg: object = None) -> bool:
        """End the wait with CancelledError; whether that was in time. Called by tasks."""
        if self.done:
            return False
        self.done = True  # whatever else `on_cancel` ends it with comes too late
        self._error = asyncio.CancelledError()
        if self.on_cancel:
            self.on_cancel()
        self._settle(soon=True)
        return True

    def result(self) -> T:
        """Return the value or raise the error; InvalidStateError while there is neither."""
        if not self.done:
            raise asyncio.InvalidStateError("nothing has come yet")
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = self._error.with_traceback(None)  # no cycle through our frame
        value: T = self._value
        return value

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it belongs to; asyncio's tasks ask for it."""
        return self._loop or asyncio.get_running_loop()

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Call `callback` by the loop once it is done; how asyncio's tasks wait."""
        self._callback = (callback, context)
        if self.done:
            self._settle()

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the value."""
        if not self.done:
            self._asyncio_future_blocking = True
            yield self
        if self._error is not None:
            self.result()  # raises
        value: T = self._value
        return value

    def _settle(self, *, soon: bool = False) -> None:
        self.done = True
        self.on_cancel = None
        if self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            if soon:
                self.get_loop().call_soon(waiter.resume)
            else:
                waiter.resume()
        elif self._callback is not None:
            (callback, context), self._callback = self._callback, None
            self.get_loop().call_soon(callback, self, context=context)
