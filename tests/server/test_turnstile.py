"""The turnstile: what is leased at once, who waits, who is refused, and the races between them."""

import asyncio
import random

import pytest

from libs.common.catalog import AccountShare
from libs.common.envelope import InferRequest
from libs.common.errors import Aborted, OutOfCapacity, QueueTimeUsedUp, Unavailable
from services.server.endpoints import Endpoint
from services.server.turnstile import PUSHED_OUT, TAKEN_OVER, TIME_UP, Lease, Turnstile
from tests import virtual_time
from tests.fakes import a_request


def turnstile(*concurrencies: int, queue: int = 0) -> Turnstile:
    made = Turnstile(queue_limit=queue, rng=random.Random(1))
    for number, concurrency in enumerate(concurrencies):
        name = f"e{number}"
        made.endpoints[name] = Endpoint(instance=name, address=name, concurrency=concurrency)
    return made


def asks(cost: int, **more: object) -> InferRequest:
    return a_request(cost=cost, **more)


def taken(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


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


async def test_closing_sends_everyone_away() -> None:
    gate = turnstile(queue=2)
    waiting = [asyncio.create_task(gate.wait(asks(1), patience=1)) for _ in range(2)]
    await asyncio.sleep(0)

    gate.close(Unavailable("moved"))
    ends = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(each) for each in ends] == [Unavailable, Unavailable]


def waits(
    gate: Turnstile, cost: int = 1, patience: float = 1, **more: object
) -> asyncio.Task[Lease]:
    return asyncio.create_task(gate.wait(asks(cost, **more), patience=patience))


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


async def test_a_retry_takes_the_place_of_its_first_try() -> None:
    gate = turnstile(1, queue=9)
    holder = taken(gate.try_lease(asks(1)))
    first = waits(gate, client_request_id="mine")
    other = waits(gate)
    await asyncio.sleep(0)

    again = waits(gate, client_request_id="mine", retry_count=1)
    await asyncio.sleep(0)

    assert (gate.waiting, gate.dropped[TAKEN_OVER]) == (2, 1)
    with pytest.raises(Aborted):
        await first
    holder.give_back()
    (await again).give_back()
    (await other).give_back()


@pytest.mark.parametrize(
    "second",
    [
        {"client_request_id": "mine"},
        {"client_request_id": "mine", "retry_count": 1, "payload": b"else"},
        {"client_request_id": "mine", "retry_count": 1, "account": "b" * 32},
        {"client_request_id": "", "retry_count": 1},
        {"client_request_id": "mine", "idempotency_key": "key"},
    ],
    ids=["no retry", "says something else", "another account", "without an id", "another key"],
)
async def test_what_is_not_the_same_call_again_has_its_own_place(second: dict[str, object]) -> None:
    gate = turnstile(1, queue=9)
    taken(gate.try_lease(asks(1)))
    calls = [waits(gate, client_request_id="mine")]
    await asyncio.sleep(0)

    calls.append(waits(gate, **second))  # type: ignore[arg-type]
    await asyncio.sleep(0)

    assert gate.waiting == 2
    for each in calls:
        each.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_an_idempotency_key_is_enough_for_a_place_taken_over() -> None:
    gate = turnstile(1, queue=9)
    taken(gate.try_lease(asks(1)))
    first = waits(gate, idempotency_key="key")
    await asyncio.sleep(0)

    again = waits(gate, idempotency_key="key", priority=9)
    await asyncio.sleep(0)

    assert gate.waiting == 1
    with pytest.raises(Aborted):
        await first
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_large_call_has_an_endpoint_held_and_the_others_go_on() -> None:
    gate = turnstile(2, 2, queue=9)
    holders = [taken(gate.try_lease(asks(1))) for _ in range(4)]
    large = waits(gate, 2)
    small = [waits(gate, account="b" * 32) for _ in range(3)]
    await asyncio.sleep(0)

    holders[0].give_back()
    held = holders[0].endpoint
    elsewhere = next(each for each in holders if each.endpoint is not held)
    elsewhere.give_back()
    await asyncio.sleep(0)
    assert [each.done() for each in (large, *small)] == [False, True, False, False]
    next(each for each in holders[1:] if each.endpoint is held).give_back()

    assert (await large).endpoint is held
    for each in small:
        each.cancel()


async def test_a_large_call_that_leaves_lets_go_of_what_was_held_for_it() -> None:
    gate = turnstile(2, queue=9)
    holders = [taken(gate.try_lease(asks(1))) for _ in range(2)]
    large, small = waits(gate, 2), waits(gate, account="b" * 32)
    await asyncio.sleep(0)
    holders[0].give_back()
    await asyncio.sleep(0)
    assert not small.done()

    large.cancel()

    assert (await small).cost == 1


async def test_a_flood_does_not_keep_others_out_of_the_queue() -> None:
    gate = turnstile(1, queue=4)
    taken(gate.try_lease(asks(1)))
    flood = [waits(gate, account="flood") for _ in range(6)]
    await asyncio.sleep(0)

    quiet = waits(gate, account="quiet")
    await asyncio.sleep(0.01)

    refused = [each for each in flood if each.done()]
    assert [type(each.exception()) for each in refused] == [OutOfCapacity] * 3
    assert gate.dropped[PUSHED_OUT] == 1
    assert not quiet.done()
    gate.close(Unavailable("done"))
    await asyncio.gather(*flood, quiet, return_exceptions=True)


def with_shares(gate: Turnstile, **shares: AccountShare) -> Turnstile:
    gate.configure(gate.queue_limit, shares)
    return gate


async def test_an_account_never_holds_more_than_its_maximum_and_others_pass_it() -> None:
    gate = with_shares(turnstile(3, queue=9), few=AccountShare(maximum=1))
    first = taken(gate.try_lease(asks(1, account="few")))

    second = waits(gate, account="few")
    await asyncio.sleep(0)
    assert gate.try_lease(asks(1, account="many")) is None
    passing = gate.pass_by(asks(1, account="many"))
    other = await gate.wait(asks(1, account="many"), patience=1)

    assert passing is not None
    assert other.is_open
    assert not second.done()
    first.give_back()
    assert (await second).cost == 1


async def test_a_call_larger_than_its_accounts_maximum_is_refused() -> None:
    gate = with_shares(turnstile(4, queue=9), few=AccountShare(maximum=2))

    assert gate.try_lease(asks(3, account="few")) is None
    with pytest.raises(OutOfCapacity, match="may hold 2"):
        await gate.wait(asks(3, account="few"), patience=1)


async def test_what_is_guaranteed_is_kept_and_goes_before_everyone() -> None:
    gate = with_shares(turnstile(3, queue=9), sure=AccountShare(guaranteed=1))
    others = [taken(gate.try_lease(asks(1, account="many"))) for _ in range(2)]

    assert gate.try_lease(asks(1, account="many")) is None
    waiting = waits(gate, account="many")
    await asyncio.sleep(0)
    sure = await gate.wait(asks(1, account="sure"), patience=1)
    again = waits(gate, account="sure")
    await asyncio.sleep(0)
    others[0].give_back()

    assert (await waiting).cost == 1  # beyond its guarantee it has its share like all others
    sure.give_back()
    assert (await again).cost == 1


async def test_who_must_not_queue_gets_nothing_while_others_wait_for_what_is_free() -> None:
    gate = turnstile(2, queue=9)
    taken(gate.try_lease(asks(1)))
    large = waits(gate, 2)
    await asyncio.sleep(0)

    assert gate.pass_by(asks(1, account="b" * 32)) is None
    assert gate.waiting == 1
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
