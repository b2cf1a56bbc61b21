"""A task that starts at once: a coroutine that waits for nothing has ended when `start` returns.

It is a third-party task in the sense of asyncio's documentation ("Extending"), so
`asyncio.timeout`, `asyncio.current_task` and all awaitables work inside of it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from libs.eager.promise import Promise

T = TypeVar("T")


class Ended:
    """What a coroutine has returned."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _steps(coroutine: Coroutine[Any, Any, Any]) -> Iterator[Any]:
    """Yield what the coroutine waits for, and its end: compiled, StopIteration costs far more."""
    value = yield from coroutine.__await__()
    yield Ended(value)


class EagerTask(Generic[T]):
    """Drives one coroutine; `on_done` hears of its end, in the same turn of the loop.

    Begins at the first `resume`. `error` is what the coroutine raised, a CancelledError included.

    Not listed in `asyncio.all_tasks`: being listed costs as much as all the rest.
    """

    __slots__ = (
        "_cancelling",
        "_coroutine",
        "_done",
        "_loop",
        "_must_cancel",
        "_on_done",
        "_steps",
        "_value",
        "_waits_for",
        "error",
    )

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        on_done: Callable[[EagerTask[T]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._coroutine = coroutine
        self._steps = _steps(coroutine)
        self._on_done = on_done
        self._loop = loop
        self._waits_for: Any = None
        self._cancelling = 0
        self._must_cancel = False
        self._done = False
        self._value: Any = None
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        state = "done" if self._done else f"waits for {self._waits_for!r}"
        name = getattr(self._coroutine, "__qualname__", "?")
        return f"<EagerTask {name} {state}>"

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def result(self) -> T:
        """Return the coroutine's value, or raise what it raised."""
        if not self._done:
            raise asyncio.InvalidStateError("the task goes on")
        if self.error is not None:
            raise self.error
        value: T = self._value
        return value

    def exception(self) -> BaseException | None:
        """Return the error, if any; named as asyncio's tasks do."""
        return self.error

    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError where the coroutine waits; whether it was still running."""
        if self._done:
            return False
        self._cancelling += 1
        if self._waits_for is None or not self._waits_for.cancel():
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """Return how many cancellations are not taken back."""
        return self._cancelling

    def uncancel(self) -> int:
        """Take one cancellation back; return how many are left."""
        self._cancelling = max(0, self._cancelling - 1)
        return self._cancelling

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it runs in."""
        return self._loop

    def resume(self) -> None:
        """Go on until the next wait, or the end; a tick later where another task is running."""
        loop = self._loop
        try:
            _enter_task(loop, self)  # type: ignore[arg-type]  # any task, asyncio's docs say
        except RuntimeError:
            loop.call_soon(self.resume)
            return
        self._waits_for = None
        try:
            waits_for = self._throw() if self._must_cancel else next(self._steps)
        except StopIteration as stop:
            self._value, self._done = stop.value, True
        except (KeyboardInterrupt, SystemExit) as error:
            self.error, self._done = error, True
            raise
        except BaseException as error:  # noqa: BLE001 - a task keeps whatever ends it
            self.error, self._done = error, True
        else:
            if type(waits_for) is Promise and not self._must_cancel:
                waits_for.waiter = self
                self._waits_for = waits_for
            else:
                self._wait(waits_for)
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
        if self._done:
            self._on_done(self)

    def _throw(self) -> Any:
        self._must_cancel = False
        return self._coroutine.throw(asyncio.CancelledError())

    def _wait(self, waits_for: Any) -> None:
        """Wait for whatever asyncio's tasks can wait for; the end is nothing to wait for."""
        if type(waits_for) is Ended:
            self._value, self._done = waits_for.value, True
            return
        if type(waits_for) is Promise:
            waits_for.waiter = self
        elif waits_for is None:  # as asyncio.sleep(0) does
            self._loop.call_soon(self.resume)
            return
        else:
            waits_for._asyncio_future_blocking = False
            waits_for.add_done_callback(self._woken)
        self._waits_for = waits_for
        if self._must_cancel and waits_for.cancel():
            self._must_cancel = False

    def _woken(self, _: object) -> None:
        self.resume()


def promised(coroutine: Coroutine[Any, Any, T]) -> Promise[T]:
    """Run the coroutine, and return the promise of what it returns; cancelling that cancels it."""

    def ended(task: EagerTask[T]) -> None:
        if task.error is None:
            promise.resolve(task.result())
        else:
            promise.fail(task.error)

    loop = asyncio.get_running_loop()
    promise: Promise[T] = Promise(loop)
    task = start(coroutine, ended, loop)
    promise.on_cancel = None if promise.done else task.cancel
    return promise


def start(
    coroutine: Coroutine[Any, Any, T],
    on_done: Callable[[EagerTask[T]], None],
    loop: asyncio.AbstractEventLoop | None = None,
) -> EagerTask[T]:
    """Run the coroutine until its first wait: now, or a tick later where a task is running."""
    task = EagerTask(coroutine, on_done, loop or asyncio.get_running_loop())
    task.resume()
    return task
