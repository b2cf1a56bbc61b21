"""Work in the background: cancelled on leaving, and never lost without a word."""

import asyncio

import pytest

from libs.common.lifecycle import Broken, background


async def test_it_is_cancelled_on_leaving() -> None:
    async with background(asyncio.sleep(9), name="sleeper") as task:
        await asyncio.sleep(0)

    assert task.cancelled()


async def test_work_that_fails_ends_what_is_inside(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise KeyError("lost")

    with pytest.raises(Broken, match="worker ended: KeyError"):
        async with background(fails(), name="worker"), asyncio.timeout(3):
            await asyncio.sleep(9)

    assert "worker ended: this is a bug" in caplog.text


async def test_work_that_ends_well_ends_nothing() -> None:
    async with background(asyncio.sleep(0), name="short"):
        await asyncio.sleep(0.01)


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def app() -> None:
        async with background(asyncio.sleep(9), name="sleeper"):
            await asyncio.sleep(9)

    task = asyncio.create_task(app())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
