"""Limited accounts: what is let through, refused and told, and what a call pays in the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from libs.common.catalog import Price
from libs.common.clock import ManualClock
from libs.common.envelope import Outcome, Usage
from libs.common.errors import (
    BadInput,
    ModelFailed,
    NeuronsUsedUp,
    RateLimited,
    RequestError,
    TokenRateLimited,
)
from libs.common.limit_shares import Shares
from libs.common.world_map import Account, Ref, Update
from services.entry.app import Entry, serve
from services.entry.holds import duration
from tests.entry.asking import AUTH, RUN, ask
from tests.entry.fakes import (
    ACCOUNT,
    OUTCOME,
    TEXT_MODEL,
    FakeServer,
    entry_of,
    listening,
    says,
    small_world,
)
from tests.entry.gateways import call
from tests.fakes import put

TASK = "text-generation"
RATES = {TASK: 60}


def entry(
    clock: ManualClock | None = None, server: FakeServer | None = None, **limits: Any
) -> Entry:
    world = small_world("ams")
    put(world, Account(id=ACCOUNT, **limits))
    servers = {"ams": server or FakeServer(says("hi"))}
    return entry_of(world, servers, clock=clock or ManualClock())


def planned(of: Entry, most: int = 1000, **body: Any) -> int:
    """How many calls are let through until one is refused."""
    for count in range(most):
        try:
            of.gateway.plan(call({"prompt": "hi", **body}))
        except RequestError:
            return count
    return most


def test_an_account_without_limits_has_no_meter() -> None:
    made = entry()

    assert not made.limiter.limited
    assert planned(made, 500) == 500


def test_requests_are_counted_by_task() -> None:
    clock = ManualClock()
    made = entry(clock, requests_per_minute=RATES)

    assert planned(made) == 60
    clock.advance(2.0)
    assert planned(made) == 2


def test_a_bad_call_counts_and_a_call_refused_for_its_tokens_does_not() -> None:
    made = entry(requests_per_minute=RATES, tokens_per_minute=400)
    bucket = made.limiter.limited[ACCOUNT].requests

    with pytest.raises(BadInput):
        made.gateway.plan(call({"prompt": ""}))
    made.gateway.plan(call())
    with pytest.raises(TokenRateLimited):
        made.gateway.plan(call())

    assert bucket[TASK].level == 58


async def test_tokens_are_reserved_by_max_tokens_and_settled_by_usage() -> None:
    made = entry(tokens_per_minute=1000)

    plan = made.gateway.plan(call({"prompt": "hi", "max_tokens": 400}))
    bucket = made.limiter.limited[ACCOUNT].tokens
    assert bucket
    reserved = bucket.level
    await made.gateway.run(plan)

    used = OUTCOME.usage.tokens_in + OUTCOME.usage.tokens_out
    assert reserved == 1000 - 400 - 3  # 9 bytes of input
    assert bucket.level == 1000 - used


async def test_a_call_that_failed_unseen_pays_nothing() -> None:
    made = entry(server=FakeServer(ModelFailed("no")), tokens_per_minute=1000)
    plan = made.gateway.plan(call())

    with pytest.raises(ModelFailed) as raised:
        await made.gateway.run(plan)
    plan.ended(raised.value)

    bucket = made.limiter.limited[ACCOUNT].tokens
    assert bucket
    assert bucket.level == 1000


def test_a_call_that_was_left_pays_for_its_input_and_what_had_come() -> None:
    made = entry(tokens_per_minute=1000)
    plan = made.gateway.plan(call())
    plan.parts = 10

    plan.ended(asyncio.CancelledError())
    plan.ended(asyncio.CancelledError())

    bucket = made.limiter.limited[ACCOUNT].tokens
    assert bucket
    assert bucket.level == 1000 - 3 - 10


def test_a_days_neurons_are_a_days() -> None:
    clock = ManualClock()
    made = entry(clock, neurons_per_day=1000.0)
    put(made.limiter._world, replace(TEXT_MODEL, price=Price(per_request=100.0)))

    assert planned(made) == 10
    with pytest.raises(NeuronsUsedUp):
        made.gateway.plan(call())
    clock.advance(86_400)
    assert planned(made) == 10


def test_a_share_is_all_that_an_entry_lets_through() -> None:
    made = entry(requests_per_minute=RATES)
    name = f"{ACCOUNT}/{TASK}"

    made.limiter.granted(Shares(number=1, complete=True, even=0.5, keep_s=30.0))
    even = planned(made)
    made.limiter.granted(Shares(number=2, even=0.5, shares={name: 0.0}, keep_s=30.0))

    assert even == 30
    assert planned(made) == 0


def test_an_entry_that_is_cut_off_keeps_its_share_and_then_has_an_even_part() -> None:
    clock = ManualClock()
    made = entry(clock, requests_per_minute=RATES)
    name = f"{ACCOUNT}/{TASK}"
    made.limiter.granted(Shares(number=1, even=0.5, shares={name: 0.1}, keep_s=30.0))

    counts = []
    for _ in range(3):
        clock.advance(29.0)
        made.limiter.use()
        counts.append(planned(made))

    assert counts == [6, 2, 29]  # a tenth; then all of it, as no other entry is known


def test_a_new_entry_is_not_ready_until_it_has_a_share() -> None:
    made = entry(requests_per_minute=RATES)

    made.limiter.granted(Shares(number=1, complete=True, even=0.0, keep_s=30.0))
    waits = made.not_ready()
    made.limiter.granted(Shares(number=2, even=0.5, keep_s=30.0))

    assert "limits" in waits
    assert not made.not_ready()


def test_what_is_reported_is_what_was_asked_for() -> None:
    made = entry(requests_per_minute={TASK: 5})
    for _ in range(8):
        planned(made, 1)

    (limit,) = made.limiter.use().limits
    assert (limit.name, limit.asked) == (f"{ACCOUNT}/{TASK}", 8.0)
    assert made.limiter.use().limits == ()


def test_changed_limits_count_at_once() -> None:
    made = entry(requests_per_minute=RATES)
    world = made.limiter._world
    planned(made)

    put(world, Account(id=ACCOUNT, requests_per_minute={TASK: 6}))
    assert planned(made) == 0
    put(world, Account(id=ACCOUNT))
    assert planned(made, 100) == 100
    put(world, Account(id=ACCOUNT, requests_per_minute={TASK: 6}))
    assert planned(made) == 6
    world.apply(Update(version=world.version + 1, deletes=(Ref("account", ACCOUNT),)))
    assert not made.limiter.limited


@pytest.mark.parametrize(
    ("limits", "error", "again"),
    [
        ({"requests_per_minute": {TASK: 1}}, RateLimited, "true"),
        ({"tokens_per_minute": 100}, TokenRateLimited, "true"),
        ({"neurons_per_day": 0.5}, NeuronsUsedUp, "false"),
    ],
    ids=["rate", "tokens", "neurons"],
)
async def test_each_refusal_has_its_own_words(
    limits: dict[str, Any], error: type[RequestError], again: str
) -> None:
    world, server = small_world("ams"), FakeServer(says("hi"))
    put(world, Account(id=ACCOUNT, **limits), replace(TEXT_MODEL, price=Price(per_request=1.0)))
    server.outcome = Outcome(usage=Usage(tokens_in=3, tokens_out=2, neurons=1.0))

    async with listening(server, world=world) as bound, aiohttp.ClientSession() as client:
        for _ in range(2):
            async with client.post(
                f"http://{bound.http}{RUN}", json={"prompt": "hi", "stream": True}, headers=AUTH
            ) as response:
                status, headers, body = response.status, response.headers, await response.read()

    assert status == 429
    (told,) = orjson.loads(body)["errors"]
    assert (told["code"], told["reason"]) == (error.code, error.reason)
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert headers["x-should-retry"] == again


async def test_answers_tell_what_is_left() -> None:
    world = small_world("ams")
    put(world, Account(id=ACCOUNT, requests_per_minute={TASK: 300}, tokens_per_minute=6000))

    asked = await ask(FakeServer(says("hi")), json={"prompt": "hi"}, world=world)

    told = {key: value for key, value in asked.headers.items() if key.startswith("x-ratelimit")}
    resets = [told.pop(f"x-ratelimit-reset-{what}") for what in ("requests", "tokens")]
    assert [each.endswith("ms") for each in resets] == [True, True]
    assert told == {
        "x-ratelimit-limit-requests": "300",
        "x-ratelimit-remaining-requests": "299",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5995",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.012, "12ms"), (1.0, "1s"), (1.55, "1.5s"), (59.99, "59.9s"), (360, "6m0s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_all_choices_of_a_request_let_go_when_it_fails() -> None:
    made_of = FakeServer(ModelFailed("no"))
    world = small_world("ams")
    put(world, Account(id=ACCOUNT, tokens_per_minute=10_000))
    entry = entry_of(world, {"ams": made_of})

    async with serve(entry.config, entry) as bound, aiohttp.ClientSession() as client:
        message = {"role": "user", "content": "hi"}
        body = {"model": TEXT_MODEL.name, "messages": [message], "n": 3}
        async with client.post(
            f"http://{bound.http}/v1/chat/completions", json=body, headers=AUTH
        ) as response:
            assert response.status == 500

    bucket = entry.limiter.limited[ACCOUNT].tokens
    assert bucket
    assert bucket.level > 10_000 - 3 * 60  # the input of those that were left, and no answers
