"""Several stores at once: each at its own pace, and stored means in all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.common.backoff import Backoff
from libs.common.clock import SystemClock
from libs.common.events.values import Batch
from services.analytics.batcher import BatchPolicy
from services.analytics.lines import Lines
from services.analytics.storing import Storing
from tests.analytics.support import FakeStore, batch

POLICY = BatchPolicy(write_events=10, write_age_seconds=0.005, waiting_events=20)


class Rig:
    """Two stores with their lines, and what was told as stored."""

    def __init__(self) -> None:
        self.one, self.other = FakeStore(), FakeStore()
        self.stored: list[int] = []
        self.lines = Lines(
            {
                name: Storing(
                    store=store,
                    name=name,
                    clock=SystemClock(),
                    policy=POLICY,
                    retry=Backoff(first_s=0.01, most_s=0.02),
                )
                for name, store in (("one", self.one), ("other", self.other))
            }
        )

    async def submit(self, first: int) -> None:
        await self.lines.submit(batch(first, 10), self.note)

    def note(self, batch: Batch) -> None:
        self.stored.append(batch.first_sequence)


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    rig = Rig()
    async with asyncio.timeout(20), rig.lines.running():
        yield rig


async def test_stored_means_that_all_stores_have_it() -> None:
    async with running() as rig:
        rig.other.gate.clear()
        await rig.submit(1)
        await rig.lines.each["one"].flush(5)
        assert (len(rig.one.sequences), rig.stored) == (10, [])

        rig.other.gate.set()
        await rig.lines.flush(5)

        assert rig.stored == [1]
        assert rig.one.sequences == rig.other.sequences == list(range(1, 11))


async def test_a_store_that_is_away_holds_back_what_the_others_have() -> None:
    async with running() as rig:
        rig.other.break_down()
        for first in (1, 11):
            await rig.submit(first)
        while rig.other.failures < 3:
            await asyncio.sleep(0.005)
        assert (len(rig.one.sequences), rig.stored) == (20, [])
        with pytest.raises(TimeoutError):
            await rig.lines.flush(0.05)

        rig.other.failing = None
        await rig.lines.flush(5)

        assert rig.stored == [1, 11]


async def test_a_slow_store_makes_no_line_longer_than_its_bound() -> None:
    async with running() as rig:
        rig.other.gate.clear()
        taking = asyncio.gather(*(rig.submit(first) for first in range(1, 1001, 10)))
        await asyncio.sleep(0.2)
        # Of the slow one: one write is under way, and its line is full. The other may have
        # been given all that waits to join, but has never more in its line than that.
        assert rig.lines.each["other"].waiting_events == 20
        assert rig.lines.each["one"].waiting_events <= 20
        assert not taking.done()

        rig.other.gate.set()
        await taking
        await rig.lines.flush(5)

        assert rig.stored == list(range(1, 1001, 10))
        assert rig.other.sequences == list(range(1, 1001))


async def test_a_line_whose_turn_has_come_is_what_the_others_wait_for() -> None:
    async with running() as rig:
        rig.other.gate.clear()
        submitted = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                for first in range(1, 1001, 10):  # as one sink's connection does it
                    await rig.submit(first)
                    submitted += 1

        assert submitted == 3  # one write and a full line
        assert len(rig.one.sequences) == 40
        rig.other.gate.set()


async def test_what_is_sent_again_waits_for_the_write_that_it_is_in() -> None:
    async with running() as rig:
        again: list[int] = []
        rig.other.gate.clear()
        for first in (1, 11):
            await rig.submit(first)
        for _ in range(5):  # its sink has heard nothing, five times
            for first in (1, 11):
                await rig.lines.submit(batch(first, 10), lambda it: again.append(it.last_sequence))
        assert rig.lines.each["other"].waiting_events <= 20

        rig.other.gate.set()
        await rig.lines.flush(5)
        await rig.lines.submit(batch(11, 10), lambda it: again.append(it.last_sequence))

        assert rig.stored == [1, 11]
        assert again == [10, 20, 20]
        assert rig.one.sequences == rig.other.sequences == list(range(1, 21))


async def test_what_goes_on_behind_the_end_of_what_is_in_line_is_taken() -> None:
    async with running() as rig:
        await rig.submit(1)
        await rig.lines.submit(batch(1, 15), rig.note)
        await rig.lines.submit(batch(1, 10, boot_epoch=2), rig.note)
        await rig.lines.flush(5)

        assert len(rig.one.batches) == len(rig.other.batches) == 3
        assert rig.stored == [1, 1, 1]


async def test_a_boot_keeps_its_order_through_a_full_line() -> None:
    async with running() as rig:
        rig.other.gate.clear()
        by_one_connection = asyncio.create_task(in_order(rig, range(1, 101, 10)))
        await asyncio.sleep(0.05)  # it waits for room, and its sink connects anew
        by_the_next = asyncio.create_task(in_order(rig, range(1, 301, 10)))
        await asyncio.sleep(0.05)

        rig.other.gate.set()
        await asyncio.gather(by_one_connection, by_the_next)
        await rig.lines.flush(5)

        assert rig.one.sequences == rig.other.sequences == list(range(1, 301))


async def in_order(rig: Rig, firsts: range) -> None:
    for first in firsts:
        await rig.submit(first)
