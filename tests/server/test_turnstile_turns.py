"""Whose turn it is at a turnstile: retries, large calls, floods and accounts with shares."""

import asyncio

import pytest

from libs.common.catalog import AccountShare
from libs.common.errors import Aborted, OutOfCapacity, Unavailable
from services.server.turnstile import PUSHED_OUT, TAKEN_OVER
from tests.server.turnstiles import asks, taken, turnstile, waits, with_shares


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
    ],
    ids=["no retry", "says something else", "another account", "without an id"],
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
