"""The gateway: what it refuses, what it sends, and what a stream shows."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from libs.common.catalog import Access, Model
from libs.common.envelope import RequestSource, TimeBounds
from libs.common.errors import (
    BadInput,
    FinetuneIncomplete,
    LoraUnsupported,
    ModelNotAllowed,
    ModelNotForToken,
    NoQueue,
    RequestError,
    UnknownModel,
)
from libs.common.request_ids import shard_of
from libs.common.world import World
from libs.common.world_map import EndpointLoad, Shard, ShardLoad
from services.entry.calls import Call
from services.entry.gateway import Gateway
from tests.entry.fakes import (
    ACCOUNT,
    OTHER_ACCOUNT,
    PRIVATE,
    TEXT,
    TEXT_MODEL,
    VECTORS,
    FakeServer,
    place,
    says,
    small_world,
)
from tests.entry.gateways import call, gateway, read
from tests.fakes import put
from tests.streams import results_of


def a_world_with_a_private_model() -> World:
    world = small_world("ams")
    access = Access(accounts=(OTHER_ACCOUNT,))
    put(world, Model(name=PRIVATE, task="text-embeddings", access=access))
    return world


NARROW = call()
NARROW.token = replace(NARROW.token, models=(VECTORS,))
REFUSED: list[tuple[str, Call, type[RequestError], str, str]] = [
    (
        "unknown model",
        call(model="@cf/no/such"),
        UnknownModel,
        "",
        "No such model @cf/no/such or task",
    ),
    ("private model", call({"text": "a"}, PRIVATE), ModelNotAllowed, "", "may not run"),
    ("a token of another model", NARROW, ModelNotForToken, "", "the token may not run"),
    (
        "wrong task",
        call(model=VECTORS, task="text-generation"),
        BadInput,
        "/model",
        "does text-embed",
    ),
    (
        "unknown finetune",
        call({"prompt": "a", "lora": "nope"}),
        BadInput,
        "/lora",
        "finetune 'nope'",
    ),
    ("another's finetune", call({"prompt": "a", "lora": "theirs"}), BadInput, "/lora", "'theirs'"),
    (
        "finetune without its files",
        call({"prompt": "a", "lora": "half"}),
        FinetuneIncomplete,
        "",
        "missing required files",
    ),
    (
        "finetune of another model",
        call({"prompt": "a", "lora": "vectors-only"}),
        BadInput,
        "/lora",
        f"'vectors-only' is for {VECTORS}",
    ),
    (
        "lora of a wrong type",
        call({"prompt": "a", "lora": 3}),
        BadInput,
        "/lora",
        "expected the name",
    ),
    (
        "model without lora",
        call({"text": "a", "lora": "pirate"}, VECTORS),
        LoraUnsupported,
        "",
        "pirate",
    ),
    (
        "stream of a wrong type",
        call({"prompt": "a", "stream": "yes"}),
        BadInput,
        "/stream",
        "boolean",
    ),
    ("batch", call({"requests": []}), NoQueue, "/requests", "no queue"),
    ("options no object", call({"prompt": "a", "options": 1}), BadInput, "/options", "object"),
    (
        "bad option",
        call({"prompt": "a", "options": {"priority": 10}}),
        BadInput,
        "/options/priority",
        "options.priority: 10 is greater than the maximum of 9",
    ),
    (
        "queue",
        call({"prompt": "a"}, options={"queueRequest": "true"}),
        NoQueue,
        "/options/queueRequest",
        "no queue",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "pointer", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_is_not_right_is_refused(
    call: Call, error: type[RequestError], pointer: str, words: str
) -> None:
    with pytest.raises(error) as refused:
        gateway(a_world_with_a_private_model()).plan(call)

    assert type(refused.value) is error
    assert refused.value.pointer == pointer
    assert words in str(refused.value)


async def test_the_envelope_says_all_that_the_way_needs() -> None:
    server = FakeServer(says("ho", "stop"))
    entry = gateway(ams=server)
    body = {
        "prompt": "hi",
        "lora": "pirate",
        "tags": ["x"],
        "options": {"rejectIfBusy": True, "maxQueueMs": 50, "cost": 3, "gateway": {}},
    }
    plan = entry.plan(call(body, "demo", options={"priority": "9"}, session="s"))

    answer = await entry.run(plan)

    (sent,) = server.requests
    assert answer.result["response"] == "ho"
    assert sent.request_id == plan.request.request_id
    assert shard_of(sent.request_id) == 0
    assert (sent.model, sent.task, sent.account) == (TEXT, "text-generation", ACCOUNT)
    assert (sent.finetune, sent.adapter) == ("ft-1", "ft-1")
    assert sent.priority == 6, "capped by the token"
    assert (sent.reject_if_busy, sent.max_queue_ms, sent.cost) == (True, 50, 3)
    assert (sent.session, sent.client_request_id, sent.bytes_in) == ("s", "c", 9)
    assert (sent.source_colo, sent.shard_epoch, sent.attempt) == ("ams", 7, 0)
    assert sent.request_source is RequestSource.REST
    assert sent.units.input_characters == len("<user>hi<assistant>")
    assert sent.time_bounds == TimeBounds(first_part_ms=30_000, idle_ms=30_000, total_ms=600_000)
    assert b"ft-1" in sent.payload


LONG = {"messages": [{"role": "user", "content": "a" * 3000}]}


def spread_world(endpoints: int) -> World:
    world = small_world("ams")
    each = EndpointLoad(instance="", address="", state="healthy")
    for model in (TEXT, VECTORS):
        load = ShardLoad(model=model, colo="ams", index=0, server="ams", permits=4, free=4)
        put(world, replace(load, endpoints=(each,) * endpoints))
    return world


def test_prompts_are_hashed_where_there_are_endpoints_to_choose_from() -> None:
    alone, spread = gateway(spread_world(1)), gateway(spread_world(2))

    assert alone.plan(call(LONG)).request.prefix_hashes == ()
    assert len(spread.plan(call(LONG)).request.prefix_hashes) == 4
    assert spread.plan(call({"prompt": "short"})).request.prefix_hashes == ()
    assert spread.plan(call({"text": "a" * 3000}, VECTORS)).request.prefix_hashes == ()


def test_a_conversation_keeps_its_hashes_as_it_goes_on_but_not_with_an_adapter() -> None:
    entry = gateway(spread_world(2))
    answer = {"role": "assistant", "content": "b" * 2000}
    longer = {"messages": [*LONG["messages"], answer, *LONG["messages"]]}

    before = entry.plan(call(LONG)).request.prefix_hashes
    after = entry.plan(call(longer, session="s")).request.prefix_hashes
    adapted = entry.plan(call(LONG | {"lora": "pirate"})).request.prefix_hashes

    assert after[: len(before)] == before
    assert len(after) > len(before) == len(adapted)
    assert not set(before) & set(adapted)


def test_conversations_keep_to_a_shard_each() -> None:
    world = small_world("ams")
    put(world, replace(TEXT_MODEL, shards=2))
    put(world, Shard(model=TEXT, colo="ams", index=1, owner="server-ams", epoch=9))
    put(world, ShardLoad(model=TEXT, colo="ams", index=1, server="", permits=4, free=4))
    entry = gateway(world)

    def shards(prompt: str, **told: Any) -> set[tuple[int, int]]:
        plans = [entry.plan(call({"prompt": prompt * 600}, **told)) for _ in range(4)]
        assert all(shard_of(p.request.request_id) == p.request.shard for p in plans)
        return {(each.request.shard, each.request.shard_epoch) for each in plans}

    by_prompt, by_session = (
        [shards(each) for each in "abcdefgh"],
        [shards("a", session=each) for each in "abcdefgh"],
    )

    for kept in (by_prompt, by_session):
        assert all(len(each) == 1 for each in kept)
        assert set.union(*kept) == {(0, 7), (1, 9)}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


async def test_a_stream_is_its_parts_and_then_the_usage() -> None:
    entry = gateway(ams=FakeServer(says("a"), says(""), says("b", "stop")))

    shown = await read(results_of(entry, entry.plan(call(stream=True))))

    assert shown == [
        {"response": "a"},
        {"response": "b", "finish_reason": "stop"},
        {"response": "", "usage": USAGE},
    ]


async def test_closing_a_stream_early_stops_the_model() -> None:
    server = FakeServer(says("a"), asyncio.Event())
    entry = gateway(ams=server)
    results = results_of(entry, entry.plan(call(stream=True)))

    await anext(results)
    await results.aclose()

    assert server.cancelled.is_set()


def test_a_task_that_cannot_stream_answers_whole() -> None:
    plan = gateway(small_world("ams")).plan(call({"text": "a", "stream": True}, VECTORS))

    assert not plan.request.stream


def test_a_changed_catalog_entry_is_compiled_anew() -> None:
    world = small_world("ams")
    entry = gateway(world)
    entry.plan(call({"prompt": "a", "max_tokens": 300}))

    put(world, Model(name=TEXT, task="text-generation", schema={"max_tokens": {"maximum": 10}}))

    with pytest.raises(BadInput, match="maximum of 10"):
        entry.plan(call({"prompt": "a", "max_tokens": 300}))


def test_all_calls_of_a_key_go_to_one_shard_however_full_and_whatever_their_prompt() -> None:
    world = small_world()
    put(world, replace(TEXT_MODEL, shards=3))
    for index in range(3):
        colo, server, shard, load = place(TEXT, "ams", free=0 if index == 1 else 4)
        assert isinstance(shard, Shard)
        assert isinstance(load, ShardLoad)
        put(world, colo, server, replace(shard, index=index), replace(load, index=index))
    one, other = gateway(world), gateway(world)

    def shards(entry: Gateway, key: str) -> set[int]:
        bodies = [{"prompt": "hi"}, LONG, LONG | {"options": {"sessionAffinity": "s"}}]
        plans = [entry.plan(call(body, idempotency_key=key)) for body in bodies]
        return {plan.request.shard for plan in plans}

    chosen = {key: shards(one, key) for key in map(str, range(30))}

    assert all(len(each) == 1 for each in chosen.values())
    assert {shard for each in chosen.values() for shard in each} == {0, 1, 2}
    assert all(shards(other, key) == each for key, each in chosen.items())
