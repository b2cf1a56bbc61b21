"""Eager tasks: start at once, wait for promises and for all that asyncio has, and are cancelled."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.eager import EagerTask, Promise, Timers, Within, promised, start


async def value_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def run_all(coroutine: Any) -> tuple[EagerTask[Any], list[EagerTask[Any]]]:
    ended: list[EagerTask[Any]] = []
    return from_the_loop(lambda: start(coroutine, ended.append)), ended


def from_the_loop(act: Callable[[], Any]) -> Any:
    """Act as a protocol's callback does: in no task."""
    from asyncio.tasks import _enter_task, _leave_task

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    _leave_task(loop, task)
    try:
        return act()
    finally:
        _enter_task(loop, task)


async def test_what_waits_for_nothing_has_ended_when_start_returns() -> None:
    task, ended = run_all(value_of(resolved("x")))

    assert ended == [task]
    assert task.result() == "x"


def resolved(value: Any) -> Promise[Any]:
    promise: Promise[Any] = Promise()
    promise.resolve(value)
    return promise


async def test_a_promise_resumes_within_resolve() -> None:
    promise: Promise[int] = Promise()
    task, ended = run_all(value_of(promise))
    assert not ended

    from_the_loop(lambda: promise.resolve(5))

    assert ended == [task]
    assert task.result() == 5


async def test_a_promise_resolved_by_another_task_resumes_a_tick_later() -> None:
    promise: Promise[int] = Promise()
    task, ended = run_all(value_of(promise))

    promise.resolve(5)
    assert not ended
    await asyncio.sleep(0)

    assert task.result() == 5


async def test_what_comes_second_is_ignored() -> None:
    promise: Promise[int] = Promise()

    promise.resolve(1)
    promise.resolve(2)
    promise.fail(ValueError())

    assert await promise == 1
    assert not promise.cancel()


async def test_a_plain_task_waits_for_a_promise_too() -> None:
    promise: Promise[int] = Promise()
    waiting = asyncio.create_task(value_of(promise))
    await asyncio.sleep(0)

    promise.resolve(7)

    assert await waiting == 7


async def test_a_failure_is_raised_where_one_waits() -> None:
    promise: Promise[int] = Promise()
    task, ended = run_all(value_of(promise))

    from_the_loop(lambda: promise.fail(ValueError("no")))

    assert ended
    assert repr(task.exception()) == "ValueError('no')"
    with pytest.raises(ValueError, match="no"):
        task.result()


@pytest.mark.parametrize("plain", [False, True], ids=["eager", "asyncio"])
async def test_cancelling_tells_the_promise_and_raises(plain: bool) -> None:
    told: list[str] = []
    promise: Promise[int] = Promise(on_cancel=lambda: told.append("cancelled"))
    task: Any = asyncio.create_task(value_of(promise)) if plain else run_all(value_of(promise))[0]
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.sleep(0.01)

    assert told == ["cancelled"]
    assert task.done()
    promise.resolve(1)  # too late, and no harm


async def test_asyncio_is_at_home_in_it() -> None:
    async def everything() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0.001, "child"))
        await asyncio.sleep(0)
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        await event.wait()
        assert isinstance(asyncio.current_task(), EagerTask)
        return child.result()

    task, ended = run_all(everything())
    while not ended:
        await asyncio.sleep(0.005)

    assert task.result() == "child"
    assert task.cancelling() == 0


async def test_a_cancellation_in_mid_step_comes_at_the_next_wait() -> None:
    promise: Promise[int] = Promise()

    async def cancels_itself() -> None:
        me = asyncio.current_task()
        assert me
        me.cancel()
        await promise

    task, ended = run_all(cancels_itself())
    await asyncio.sleep(0.01)

    assert ended
    assert isinstance(task.exception(), asyncio.CancelledError)
    assert promise.done


async def test_started_from_a_task_it_runs_a_tick_later() -> None:
    ended: list[EagerTask[Any]] = []

    start(value_of(resolved(1)), ended.append)
    assert not ended
    await asyncio.sleep(0)

    assert ended


class Bound:
    def __init__(self, seconds: float) -> None:
        self.due = time.monotonic() + seconds
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1


async def test_timers_tell_what_is_due_once_and_stop_ticking() -> None:
    timers = Timers(tick_s=0.005)
    soon, late, left, moved = Bound(0.01), Bound(9), Bound(0.01), Bound(0.01)
    for each in (soon, late, left, moved):
        timers.add(each)
    timers.discard(left)
    moved.due += 9

    await asyncio.sleep(0.05)

    assert [each.expired for each in (soon, late, left, moved)] == [1, 0, 0, 0]
    assert len(timers) == 2
    timers.discard(late)
    timers.discard(moved)
    await asyncio.sleep(0.02)
    assert repr(timers) == "<Timers 0 every 0.005 s>"


async def test_timers_that_are_used_all_the_time_are_started_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks: list[Callable[[], None]] = []
    monkeypatch.setattr(
        asyncio.get_running_loop(), "call_later", lambda _, tick: ticks.append(tick) or tick
    )
    timers = Timers()

    def use() -> None:
        timers.add(short := Bound(9))
        timers.discard(short)

    for at in range(1, 5):
        use()
        assert len(ticks) == at  # the first was started by the use, the others by a tick
        ticks[-1]()
    ticks[-1]()  # the second in a row that finds nothing

    assert len(ticks) == 5


class Broken(Bound):
    def expire(self) -> None:
        raise ValueError("a bug")


async def test_a_bound_that_cannot_be_told_leaves_the_others_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timers = Timers(tick_s=0.005)
    others = [Bound(0.01), Bound(0.03)]
    for each in (Broken(0.01), *others):
        timers.add(each)

    await asyncio.sleep(0.06)
    timers.add(late := Bound(0))
    await asyncio.sleep(0.03)

    assert [each.expired for each in (*others, late)] == [1, 1, 1]
    assert [each.levelname for each in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("pauses", [0, 2])
async def test_a_promised_coroutine_gives_what_it_returns(pauses: int) -> None:
    async def work() -> str:
        for _ in range(pauses):
            await asyncio.sleep(0)
        return "x"

    assert await promised(work()) == "x"


async def test_a_promised_coroutine_that_fails_raises_where_it_is_awaited() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await promised(work())


async def test_who_cancels_a_promised_coroutine_ends_it() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            ended.set()

    promise = promised(work())
    await asyncio.sleep(0)
    promise.cancel()

    await asyncio.wait_for(ended.wait(), 2)
    with pytest.raises(asyncio.CancelledError):
        await promise


@pytest.mark.parametrize("plain", [True, False])
async def test_what_takes_too_long_is_ended_within_its_bound(plain: bool) -> None:
    timers = Timers(tick_s=0.005)

    async def work() -> str:
        try:
            with Within(timers, 0.01):
                await asyncio.sleep(9)
        except TimeoutError:
            await asyncio.sleep(0)  # it goes on
            return "too late"
        return "in time"

    assert await (work() if plain else promised(work())) == "too late"
    assert len(timers) == 0


async def test_what_ends_in_time_is_left_alone() -> None:
    timers = Timers(tick_s=0.005)

    with Within(timers, 9):
        await asyncio.sleep(0)
    with pytest.raises(KeyError), Within(timers, 9):
        raise KeyError

    assert len(timers) == 0


async def test_anothers_cancellation_within_a_bound_stays_one() -> None:
    timers = Timers(tick_s=0.005)

    async def work() -> None:
        with Within(timers, 0.01):
            await asyncio.sleep(9)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
