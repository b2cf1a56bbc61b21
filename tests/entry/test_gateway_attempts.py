"""Where the gateway sends a call, and when it tries elsewhere."""

import asyncio
from typing import Any

import pytest

from libs.common.errors import (
    HopsUsedUp,
    ModelFailed,
    ModelStarting,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    ServerLost,
    Unavailable,
)
from libs.common.world_map import EntryLoad, Server, Shard
from services.entry.app import Config
from tests.entry.fakes import (
    TEXT,
    FakeServer,
    entry_of,
    place,
    says,
    small_world,
)
from tests.entry.gateways import call, gateway, read
from tests.fakes import put
from tests.streams import results_of


async def test_a_full_colo_is_left_for_the_next() -> None:
    full, room = FakeServer(OutOfCapacity("full")), FakeServer(says("ho"))
    entry = gateway(ams=full, lhr=room)

    answer = await entry.run(entry.plan(call()))

    assert answer.result["response"] == "ho"
    assert room.requests[0].attempt == 1
    assert room.requests[0].request_id == full.requests[0].request_id


GAVE_UP: list[tuple[str, list[RequestError], type[RequestError], int, str]] = [
    (
        "all full",
        [OutOfCapacity("a", retry_after_ms=2000), OutOfCapacity("b", retry_after_ms=9000)],
        OutOfCapacity,
        2000,
        "No more data centers to forward the request to",
    ),
    ("one colo, full", [OutOfCapacity("full", retry_after_ms=3000)], OutOfCapacity, 3000, "full"),
    (
        "hops used up",
        [HopsUsedUp("a"), HopsUsedUp("b", retry_after_ms=5000)],
        HopsUsedUp,
        5000,
        "b",
    ),
    ("full and lost", [Unavailable("lost"), OutOfCapacity("full")], OutOfCapacity, 0, "No more"),
    (
        "starting",
        [ModelStarting("s", retry_after_ms=5000), Unavailable("u")],
        ModelStarting,
        5000,
        "s",
    ),
    ("unwell", [Unavailable("u"), Unavailable("gone")], Unavailable, 0, "gone"),
    ("lost", [Unavailable("u"), ServerLost("gone")], Unavailable, 0, "gone"),
    ("nobody", [], Unavailable, 2000, "no server serves"),
]


@pytest.mark.parametrize(
    ("errors", "verdict", "wait_ms", "words"), [r[1:] for r in GAVE_UP], ids=[r[0] for r in GAVE_UP]
)
async def test_when_nobody_can_the_error_says_so(
    errors: list[RequestError], verdict: type[RequestError], wait_ms: int, words: str
) -> None:
    servers: Any = {f"colo{n}": FakeServer(error) for n, error in enumerate(errors)}
    entry = gateway(**servers)

    with pytest.raises(verdict) as refused:
        await entry.run(entry.plan(call()))

    assert refused.value.retry_after_ms == wait_ms
    assert words in str(refused.value)
    assert entry.refused[TEXT] == 1


async def test_who_is_known_to_be_full_is_not_asked_after_another_was() -> None:
    full, also_full = FakeServer(OutOfCapacity("full")), FakeServer(says("ho"))
    world = small_world("ams", "lhr")
    put(world, *place(TEXT, "lhr", free=0, queued=64))
    entry = gateway(world, ams=full, lhr=also_full)

    with pytest.raises(OutOfCapacity):
        await entry.run(entry.plan(call()))

    assert not also_full.requests


async def test_own_calls_count_before_the_next_report() -> None:
    servers = {"ams": FakeServer(asyncio.Event()), "lhr": FakeServer(asyncio.Event())}
    entry = gateway(**servers)

    calls = [asyncio.create_task(entry.run(entry.plan(call()))) for _ in range(4)]
    await asyncio.sleep(0)
    more = [asyncio.create_task(entry.run(entry.plan(call()))) for _ in range(3)]
    await asyncio.sleep(0.01)

    assert [len(each.requests) for each in servers.values()] == [4, 3]
    for each in (*calls, *more):
        each.cancel()


async def test_an_error_tells_that_the_place_is_full() -> None:
    busy = FakeServer(OutOfCapacity("no permit is free"))
    busy.parts[0].free_permits = 0  # type: ignore[union-attr]
    room = FakeServer(says("ho"))
    entry = gateway(ams=busy, lhr=room)
    await entry.run(entry.plan(call()))

    await entry.run(entry.plan(call()))

    assert (len(busy.requests), len(room.requests)) == (1, 2)


async def test_a_lost_server_is_left_for_the_next_and_not_asked_again_at_once() -> None:
    lost, there = FakeServer(ServerLost("gone")), FakeServer(says("ho"))
    entry = gateway(ams=lost, lhr=there)

    for _ in range(3):
        await entry.run(entry.plan(call()))

    assert (len(lost.requests), len(there.requests)) == (1, 3)


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_the_next_owner_is_waited_for_where_there_is_no_other(streamed: bool) -> None:
    lost, owner = FakeServer(ServerLost("leaving")), FakeServer(says("ho"))
    world = small_world("ams")
    entry = entry_of(world, {"ams": lost, "new": owner}).gateway
    plan = entry.plan(call(stream=streamed))
    plan.request.max_queue_ms = 5_000

    running = asyncio.create_task(
        read(results_of(entry, plan)) if streamed else entry.run(plan)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0.01)
    put(world, Server(name="new", colo="ams", address="local:server-new"))
    put(world, Shard(model=TEXT, colo="ams", index=0, owner="new", epoch=8))
    await running

    (sent,) = owner.requests
    assert (sent.shard_epoch, sent.attempt) == (8, 1)
    assert 0 < sent.time_bounds.first_part_ms < plan.request.time_bounds.first_part_ms
    assert 0 < sent.max_queue_ms < 5_000


async def test_an_owner_that_does_not_come_is_waited_for_in_bounds() -> None:
    config = Config(colo="ams", http="", grpc="", server_wait_s=0.1)
    lost = FakeServer(ServerLost("gone"))
    entry = entry_of(small_world("ams"), {"ams": lost}, config=config).gateway

    with pytest.raises(Unavailable) as refused:
        await entry.run(entry.plan(call()))

    assert refused.value.reason == "unavailable"
    assert 2 <= len(lost.requests) <= 4


@pytest.mark.parametrize(
    "error",
    [Unavailable("lost", sent=True), QueueTimeUsedUp("late"), ModelFailed("oops")],
    ids=["sent", "not retryable", "model failed"],
)
async def test_what_another_colo_cannot_mend_is_raised_at_once(error: RequestError) -> None:
    other = FakeServer(says("ho"))
    entry = gateway(ams=FakeServer(error), lhr=other)

    with pytest.raises(type(error)):
        await entry.run(entry.plan(call()))

    assert not other.requests


async def test_a_stream_falls_over_before_its_first_part() -> None:
    room = FakeServer(says("ho"))
    entry = gateway(ams=FakeServer(OutOfCapacity("full")), lhr=room)

    assert (await read(results_of(entry, entry.plan(call(stream=True)))))[0] == {"response": "ho"}
    assert len(room.requests) == 1


async def test_the_report_counts_what_found_no_room() -> None:
    entry = entry_of(small_world("ams"), {"ams": FakeServer(OutOfCapacity("full"))})

    with pytest.raises(OutOfCapacity):
        await entry.gateway.run(entry.gateway.plan(call()))

    (load,) = entry.report().resources
    assert isinstance(load, EntryLoad)
    assert load.refused == {TEXT: 1}
