"""A turnstile's races: grants, cancellations and ends of patience in one tick."""

import asyncio
import random

import pytest

from libs.common.errors import QueueTimeUsedUp
from services.server.endpoints import Endpoint
from services.server.turnstile import TIME_UP, Turnstile
from tests import virtual_time
from tests.server.turnstiles import asks, taken, turnstile, waits


async def test_a_permit_freed_as_its_next_holder_cancels_is_not_lost() -> None:
    gate = turnstile(1, queue=1)
    holder = taken(gate.try_lease(asks(1)))
    waiting = asyncio.create_task(gate.wait(asks(1), patience=1))
    await asyncio.sleep(0)

    holder.give_back()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert (gate.free, gate.waiting) == (1, 0)


async def test_a_cancelled_caller_does_not_hold_up_those_behind_it() -> None:
    gate = turnstile(2, queue=3)
    holder = taken(gate.try_lease(asks(1)))
    wide = asyncio.create_task(gate.wait(asks(2), patience=1))
    narrow = asyncio.create_task(gate.wait(asks(1), patience=1))
    await asyncio.sleep(0)

    wide.cancel()

    assert (await narrow).cost == 1
    holder.give_back()


async def test_a_cancel_in_the_same_tick_as_the_grant_gives_the_permit_to_the_next() -> None:
    gate = turnstile(1, queue=2)
    holder = taken(gate.try_lease(asks(1)))
    first, second = waits(gate), waits(gate)
    await asyncio.sleep(0)

    first.cancel()
    holder.give_back()

    assert (await second).cost == 1
    assert first.cancelled() or first.done()
    assert gate.free == 0


async def test_a_grant_and_the_end_of_patience_in_one_tick_lose_nothing() -> None:
    gate = turnstile(1, queue=1)
    holder = taken(gate.try_lease(asks(1)))
    waiting = waits(gate, patience=0.03)
    await asyncio.sleep(0)
    (place,) = gate.queue.everyone()

    holder.give_back()
    place.expire()

    (await waiting).give_back()
    assert (gate.free, gate.dropped[TIME_UP]) == (1, 0)


async def test_the_end_of_patience_before_the_grant_leaves_the_permit_free() -> None:
    gate = turnstile(1, queue=1)
    holder = taken(gate.try_lease(asks(1)))
    waiting = waits(gate)
    await asyncio.sleep(0)
    (place,) = gate.queue.everyone()

    place.expire()
    holder.give_back()

    with pytest.raises(QueueTimeUsedUp):
        await waiting
    assert (gate.free, gate.dropped[TIME_UP]) == (1, 1)


async def test_a_cancel_in_the_same_tick_as_the_end_of_patience_ends_the_call_once() -> None:
    gate = turnstile(1, queue=1)
    holder = taken(gate.try_lease(asks(1)))
    waiting = waits(gate)
    await asyncio.sleep(0)

    gate.queue.everyone()[0].expire()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    holder.give_back()

    assert (gate.free, gate.waiting) == (1, 0)


async def test_a_grant_on_an_endpoint_that_dies_in_the_same_tick_comes_back_to_it() -> None:
    gate = turnstile(1, queue=1)
    endpoint = gate.endpoints["e0"]
    holder = taken(gate.try_lease(asks(1)))
    waiting = waits(gate)
    await asyncio.sleep(0)

    holder.give_back()
    gate.endpoints.pop("e0").state = "draining"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert (endpoint.in_flight, gate.permits) == (0, 0)


async def test_a_smaller_endpoint_leases_again_when_enough_has_come_back() -> None:
    gate = turnstile(3, queue=1)
    holders = [taken(gate.try_lease(asks(1))) for _ in range(3)]
    gate.endpoints["e0"].concurrency = 1
    waiting = waits(gate)
    await asyncio.sleep(0)

    holders.pop().give_back()
    holders.pop().give_back()
    await asyncio.sleep(0)
    assert not waiting.done()
    holders.pop().give_back()

    assert (await waiting).cost == 1


def test_a_call_whose_time_is_up_is_dropped_though_no_timer_has_told() -> None:
    async def work() -> None:
        gate = Turnstile(queue_limit=2, rng=random.Random(1), now=virtual_time.now)
        gate.endpoints["e"] = Endpoint(instance="e", address="e", concurrency=1)
        holder = taken(gate.try_lease(asks(1)))
        late, patient = waits(gate, patience=0.005), waits(gate, patience=9)
        await asyncio.sleep(0.01)  # the timers look every 20 ms

        holder.give_back()

        assert (await patient).cost == 1
        with pytest.raises(QueueTimeUsedUp):
            await late

    virtual_time.run(work())
