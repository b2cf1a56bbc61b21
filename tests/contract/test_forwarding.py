"""Servers that pass calls on to one another's colos."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest

from libs.common.envelope import TimeBounds
from libs.common.errors import (
    DeadlineExceeded,
    HopsUsedUp,
    ModelFailed,
    OutOfCapacity,
)
from libs.common.events.values import Flag
from libs.common.world_map import Colo, Instance, InstanceState, Server, Shard
from services.server.forwarding import Settings
from tests.contract.stations import BOUNDS, Cluster, settled
from tests.fakes import MODEL, a_request, endless
from tests.streams import parts_of
from tests.waiting import until


async def test_a_full_colo_lets_another_serve(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    held = ams.busy(1)
    await settled(held)

    reply = await ams.server.infer(
        a_request(source_colo="ams", time_bounds=BOUNDS, client_request_id="mine")
    )

    assert (reply.payload, reply.outcome.serving_colo, reply.outcome.hops) == (b"hello", "lhr", 1)
    assert (reply.outcome.free_permits, reply.outcome.queue_length) == (0, 0), "those of ams"
    (told,) = lhr.events
    assert (told.colo_id, told.source_colo_id, told.visited_colos) == ("lhr", "ams", ("ams",))
    assert (told.hops, told.flags & Flag.FORWARDED) == (1, Flag.FORWARDED)
    assert not told.flags & Flag.QUEUED_IN_COLO
    assert told.client_request_id == "mine"
    assert ams.events == []
    assert ams.load.forwarded == {"ams": 1}
    assert ams.metrics.forwarded["ams", MODEL, "ams", "lhr"] == 1
    (_, sent) = lhr.backend.calls[0]
    assert 0 < sent.time_bounds.first_part_ms <= BOUNDS.first_part_ms


async def test_a_stream_is_passed_on_and_its_end_told_once(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    parts = [part async for part in parts_of(ams.server, a_request(stream=True))]

    assert [p for each in parts for p in each.payloads] == [b"part 0", b"part 1", b"part 2"]
    assert parts[-1].outcome is not None
    assert (parts[-1].outcome.serving_colo, parts[-1].outcome.hops) == ("lhr", 1)
    assert parts[-1].outcome.usage.tokens_out == 3
    assert (len(ams.events), len(lhr.events)) == (0, 1)


async def test_who_leaves_stops_the_model_at_the_other_end(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    lhr.backend.on_stream = endless
    async with aclosing(parts_of(ams.server, a_request(stream=True))) as parts:
        await anext(parts)

    await until(lambda: lhr.backend.closed == 1 and lhr.server.in_flight == 0)
    assert (len(ams.events), len(lhr.events)) == (0, 1)
    assert lhr.events[0].flags & Flag.CANCELLED


async def test_a_call_is_cancelled_along_its_hops(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled([*ams.busy(1), *lhr.busy(0)])
    request = a_request(request_id="1" * 26, time_bounds=BOUNDS)
    call = asyncio.create_task(ams.server.infer(request))
    await settled([call])

    assert await ams.server.cancel(account="a" * 32, request_id="1" * 26) == ["1" * 26]

    with pytest.raises(Exception, match="was cancelled"):
        await call
    await until(lambda: lhr.server.in_flight == 0)


async def test_a_key_finds_the_answer_of_a_call_that_was_forwarded(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))
    first, again = (
        a_request(request_id=str(number) * 26, idempotency_key="k", time_bounds=BOUNDS)
        for number in (1, 2)
    )

    there = await ams.server.infer(first)
    kept = await ams.server.infer(again)

    assert kept.payload == there.payload
    assert [request.idempotency_key for _, request in lhr.backend.calls] == [""]


async def test_time_bounds_hold_over_a_hop(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled([*ams.busy(1), *lhr.busy(0)])

    with pytest.raises(DeadlineExceeded):
        await ams.server.infer(a_request(time_bounds=TimeBounds(first_part_ms=100)))

    assert ([e.error_code for e in lhr.events], ams.events) == ([3007], [])


async def test_what_the_model_says_there_is_said_here(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    async def fail(*_: object) -> bytes:
        raise ModelFailed("no such weights", sent=True)

    lhr.backend.on_infer = fail
    with pytest.raises(ModelFailed, match="no such weights"):
        await ams.server.infer(a_request())

    assert (len(ams.events), len(lhr.events)) == (0, 1), "who ran it tells of it"


async def test_a_short_wait_is_waited_for_here(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.full("lhr", service_s=60.0)
    held = ams.busy(2)

    await settled(held)
    assert ams.load.queued == 1
    ams.release.set()

    assert [each.payload for each in await asyncio.gather(*held)] == [b"held", b"held"]
    assert lhr.backend.calls == []


async def test_one_that_turns_out_to_be_full_sends_the_call_back_into_the_queue(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")  # all believe that lhr has a permit
    held = [*ams.busy(1), *lhr.busy(2)]
    await settled(held)

    call = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await until(lambda: ams.load.queued == 1)
    ams.release.set()

    assert (await call).outcome.serving_colo == "ams"
    assert [e.error_code for e in (*ams.events, *lhr.events)] == [0, 0]


async def test_when_all_are_full_one_event_says_so(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    held = [*ams.busy(2), *lhr.busy(2)]
    await settled(held)

    with pytest.raises(OutOfCapacity) as refused:
        await ams.server.infer(a_request(source_colo="sin"))

    assert refused.value.retry_after_ms >= 1000
    assert (refused.value.free_permits, refused.value.queue_length) == (0, 1)
    assert [each.error_code for each in ams.events] == [3040]
    assert lhr.events == []
    assert ams.load.rejected == {"sin": 1}

    before = ams.metrics.forward_failures.copy()
    with pytest.raises(OutOfCapacity):  # and now it is known: nobody is asked in vain
        await ams.server.infer(a_request())
    assert lhr.load.arrivals == 3
    assert ams.metrics.forward_failures == before == {}


async def test_a_full_queue_is_left_for_a_long_one(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.full("lhr", service_s=60.0)
    await settled(ams.busy(2))

    reply = await ams.server.infer(a_request())

    assert reply.outcome.serving_colo == "lhr"
    assert not lhr.events[0].flags & Flag.QUEUED_IN_COLO


async def test_busy_is_rejected_only_where_all_are(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    reply = await ams.server.infer(a_request(reject_if_busy=True))
    await settled(lhr.busy(1))
    with pytest.raises(OutOfCapacity):
        await ams.server.infer(a_request(reject_if_busy=True))

    assert reply.outcome.serving_colo == "lhr"
    assert (ams.load.queued, lhr.load.queued) == (0, 0)


async def test_hops_have_a_bound(cluster: Cluster) -> None:
    cluster.settings = Settings(max_hops=0)
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(2))

    with pytest.raises(HopsUsedUp) as refused:
        await ams.server.infer(a_request())

    assert refused.value.code == 3052
    assert [each.error_code for each in ams.events] == [3052]
    assert lhr.backend.calls == []


async def test_a_call_never_walks_in_circles(cluster: Cluster) -> None:
    stations = await cluster.start("ams", "lhr", "sin")  # all believe that all others are free
    held = [call for each in stations for call in each.busy(2)]
    await settled(held)

    with pytest.raises((OutOfCapacity, HopsUsedUp)):
        await stations[0].server.infer(a_request())

    assert [each.load.arrivals for each in stations] == [3, 3, 3]
    assert [len(each.events) for each in stations] == [1, 0, 0]


async def test_a_server_that_cannot_be_reached_is_counted_and_passed_over(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.tell(
        Colo(name="fra"),
        Server(name="fra", colo="fra", address="unix:/nobody/is/here"),
        Shard(model=MODEL, colo="fra", index=0, owner="fra", epoch=1),
    )
    cluster.full("fra", free=9)
    await settled(ams.busy(1))

    replies = [await ams.server.infer(a_request()) for _ in range(2)]

    assert {each.outcome.serving_colo for each in replies} == {"lhr"}
    assert len(lhr.events) == 2
    assert ams.metrics.forward_failures == {("ams", MODEL): 1}, "and not tried again at once"


async def test_background_work_goes_to_the_emptiest_colo(cluster: Cluster) -> None:
    ams, lhr, sin = await cluster.start("ams", "lhr", "sin")
    cluster.full("lhr", permits=4, free=1)
    cluster.full("sin", permits=4, free=4)
    await settled(ams.busy(1))

    reply = await ams.server.infer(a_request(background=True))

    assert reply.outcome.serving_colo == "sin"
    with suppress(IndexError):
        assert sin.events[0].flags & Flag.BACKGROUND
    assert lhr.events == []


async def test_who_waits_where_no_instance_is_goes_where_the_first_one_starts(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    for colo in ("ams", "lhr"):
        cluster.tell(an_instance_of(colo, "booting"))
        cluster.full(colo, permits=0)
    woken = ams.woken
    call = asyncio.create_task(ams.server.infer(a_request(source_colo="ams", time_bounds=BOUNDS)))
    await settled([call])
    assert (ams.load.queued, lhr.backend.calls) == (1, [])
    assert ams.woken > woken, "the scheduler hears of it at once"

    cluster.tell(an_instance_of("lhr", "ready"))
    cluster.full("lhr", free=1)

    assert (await call).outcome.serving_colo == "lhr"
    assert ams.load.queued == 0


def an_instance_of(colo: str, state: InstanceState) -> Instance:
    return Instance(id=f"{colo}-i", model=MODEL, colo=colo, address=f"{colo}:1", state=state)
