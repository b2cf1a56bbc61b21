"""The turnstile: what is leased at once, who waits, and who is refused."""

import asyncio

import pytest

from libs.common.errors import OutOfCapacity, QueueTimeUsedUp, Unavailable
from services.server.endpoints import Endpoint
from tests.server.turnstiles import asks, taken, turnstile


def test_a_free_permit_is_leased_at_once() -> None:
    gate = turnstile(1)

    with taken(gate.try_lease(asks(1))):
        assert repr(gate) == "<Turnstile used=1/1 waiting=0/0>"

    assert repr(gate) == "<Turnstile used=0/1 waiting=0/0>"


def test_without_room_there_is_no_lease() -> None:
    gate = turnstile(1)
    taken(gate.try_lease(asks(1)))

    assert gate.try_lease(asks(1)) is None


def test_a_lease_is_given_back_once() -> None:
    gate = turnstile(2)
    first, _ = taken(gate.try_lease(asks(1))), taken(gate.try_lease(asks(1)))

    first.give_back()
    first.give_back()

    assert gate.free == 1


def test_the_emptier_of_two_endpoints_is_taken() -> None:
    gate = turnstile(2, 2)

    endpoints = {taken(gate.try_lease(asks(1))).endpoint.instance for _ in range(2)}

    assert endpoints == {"e0", "e1"}


def test_a_costly_call_takes_its_permits_on_one_endpoint() -> None:
    gate = turnstile(2, 4)

    assert taken(gate.try_lease(asks(3))).endpoint.instance == "e1"


def test_a_call_that_costs_more_than_any_endpoint_has_takes_a_whole_one() -> None:
    gate = turnstile(2)

    assert taken(gate.try_lease(asks(9))).cost == 2


@pytest.mark.parametrize("state", ["backoff", "draining"])
def test_an_endpoint_that_is_not_healthy_leases_nothing(state: str) -> None:
    gate = turnstile(1)
    gate.endpoints["e0"].state = state  # type: ignore[assignment]

    assert (gate.try_lease(asks(1)), gate.permits, gate.free) == (None, 0, 0)


async def test_a_full_queue_rejects() -> None:
    gate = turnstile(1)
    taken(gate.try_lease(asks(1)))

    with pytest.raises(OutOfCapacity):
        await gate.wait(asks(1), patience=1)


async def test_patience_runs_out_in_the_queue() -> None:
    gate = turnstile(1, queue=1)
    taken(gate.try_lease(asks(1)))

    with pytest.raises(QueueTimeUsedUp):
        await gate.wait(asks(1), patience=0.01)

    assert gate.waiting == 0


async def test_calls_of_one_account_are_served_first_come_first_served() -> None:
    gate = turnstile(1, queue=3)
    holder = taken(gate.try_lease(asks(1)))
    served: list[int] = []

    async def call(number: int) -> None:
        with await gate.wait(asks(1), patience=1):
            served.append(number)

    calls = [asyncio.create_task(call(number)) for number in range(3)]
    await asyncio.sleep(0)
    holder.give_back()
    await asyncio.gather(*calls)

    assert served == [0, 1, 2]


async def test_nobody_passes_those_who_wait() -> None:
    gate = turnstile(2, queue=2)
    holder = taken(gate.try_lease(asks(1)))
    wide = asyncio.create_task(gate.wait(asks(2), patience=1))
    await asyncio.sleep(0)

    assert gate.try_lease(asks(1)) is None
    holder.give_back()
    assert (await wide).cost == 2


async def test_a_call_that_lost_its_endpoint_waits_at_the_front_even_of_a_full_queue() -> None:
    gate = turnstile(1, queue=1)
    holder = taken(gate.try_lease(asks(1)))
    later = asyncio.create_task(gate.wait(asks(1), patience=1))
    await asyncio.sleep(0)
    retried = asyncio.create_task(gate.wait(asks(1), patience=1, at_front=True))
    await asyncio.sleep(0)

    holder.give_back()
    (await retried).give_back()
    (await later).give_back()

    assert gate.free == 1


async def test_an_endpoint_that_comes_serves_those_who_wait() -> None:
    gate = turnstile(queue=1)
    waiting = asyncio.create_task(gate.wait(asks(1), patience=1))
    await asyncio.sleep(0)

    gate.endpoints["new"] = Endpoint(instance="new", address="new", concurrency=1)
    gate.admit()

    assert (await waiting).endpoint.instance == "new"


async def test_closing_sends_everyone_away() -> None:
    gate = turnstile(queue=2)
    waiting = [asyncio.create_task(gate.wait(asks(1), patience=1)) for _ in range(2)]
    await asyncio.sleep(0)

    gate.close(Unavailable("moved"))
    ends = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(each) for each in ends] == [Unavailable, Unavailable]
