"""Servers whose shards move: who follows them, what becomes of queues, and what is told at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.common.errors import RequestError, ServerLost, Unavailable
from libs.common.events.values import Flag
from libs.common.world_map import Instance, Shard
from services.server.outliers import HEALTHY
from tests.contract.stations import BOUNDS, Cluster, settled
from tests.fakes import MODEL, a_request


async def test_a_moved_shard_is_followed_without_a_hop(cluster: Cluster) -> None:
    old, new = await cluster.start("ams-1", "ams-2")
    cluster.tell(Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2))

    late = await old.server.infer(a_request(shard_epoch=1))
    current = await old.server.infer(a_request(shard_epoch=2))

    assert [each.outcome.hops for each in (late, current)] == [0, 0]
    assert [each.flags & Flag.FORWARDED for each in new.events] == [0, 0]
    assert [each.visited_colos for each in new.events] == [(), ()]
    assert old.events == []


async def test_an_owner_that_hears_of_it_after_its_callers_waits_for_the_word(
    cluster: Cluster,
) -> None:
    _, new = await cluster.start("ams-2", "ams-1")  # the last one owns it
    old = cluster.stations["ams-1"]
    moved = Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2)
    new = cluster.stations["ams-2"]
    call = asyncio.create_task(new.server.infer(a_request(shard_epoch=2)))
    await settled([call])

    cluster.tell(moved, to=[new])

    assert (await call).outcome.hops == 0
    assert (len(new.events), len(old.events)) == (1, 0)


async def test_what_nobody_owns_is_lost_for_the_moment(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")

    with pytest.raises(ServerLost) as refused:
        await ams.server.infer(a_request(shard_epoch=9))

    assert (refused.value.sent, refused.value.retryable) == (False, True)


async def test_a_queue_is_handed_over_to_the_next_owner(cluster: Cluster) -> None:
    new, old = await cluster.start("ams-2", "ams-1")
    running = old.busy(1)
    await settled(running)
    waiting = asyncio.create_task(
        old.server.infer(a_request(time_bounds=BOUNDS, visited_colos=("x", "y")))
    )
    await settled([waiting])

    cluster.tell(Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2))

    assert (await waiting).payload == b"hello"
    (told,) = new.events
    assert told.flags & Flag.QUEUED_IN_COLO, "it has queued, though not there"
    assert new.woken, "how full it is, all should know at once"
    old.release.set()
    assert (await running[0]).payload == b"held", "what runs ends where it began"


async def test_a_queue_is_handed_over_with_calls_that_another_colo_has_refused(
    cluster: Cluster,
) -> None:
    lhr, _, old = await cluster.start("lhr", "ams-2", "ams-1")
    running = [*old.busy(1), *lhr.busy(2)]  # which the map does not know of lhr yet
    await settled(running)
    waiting = asyncio.create_task(old.server.infer(a_request(time_bounds=BOUNDS)))
    while old.load.queued != 1:  # once lhr has refused it
        await asyncio.sleep(0.01)

    cluster.tell(Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2))

    assert (await waiting).payload == b"hello"
    for each in (old, lhr):
        each.release.set()
    await asyncio.gather(*running)


async def test_who_waits_for_an_endpoint_waits_on_where_only_a_leaving_colo_has_room(
    cluster: Cluster,
) -> None:
    lhr, ams = await cluster.start("lhr", "ams")
    (shard,) = ams.server.shards
    (endpoint,) = shard.turnstile.endpoints.values()
    ams.server.losses.health.lost(shard, endpoint, is_dead=False)
    lhr.server.drain()
    cluster.tell(lhr.server.me)
    waiting = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await settled([waiting])

    cluster.full("lhr", free=1)  # a permit of a server that takes no calls any more
    await settled([waiting])
    endpoint.condition.state, endpoint.state = HEALTHY, "healthy"
    shard.turnstile.admit()

    assert (await waiting).outcome.serving_colo == "ams"


async def test_who_waits_for_an_endpoint_leaves_where_another_colo_has_room(
    cluster: Cluster,
) -> None:
    _, ams = await cluster.start("lhr", "ams")
    cluster.full("lhr")  # for the moment
    (shard,) = ams.server.shards
    (endpoint,) = shard.turnstile.endpoints.values()
    ams.server.losses.health.lost(shard, endpoint, is_dead=False)
    waiting = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await settled([waiting])

    cluster.full("lhr", free=1)

    assert (await waiting).outcome.serving_colo == "lhr"


async def test_the_time_in_line_is_bounded_over_all_waits_of_a_call(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    held = ams.busy(1)
    await settled(held)
    waiting = asyncio.create_task(
        ams.server.infer(a_request(time_bounds=BOUNDS, max_queue_ms=1_000))
    )
    await asyncio.sleep(0.8)

    async def lost(*_: object) -> bytes:
        raise Unavailable("refused", sent=False)

    ams.backend.on_infer = lost
    ams.release.set()

    with pytest.raises(RequestError):  # after its retry has waited, too
        await waiting
    (told,) = [each for each in ams.events if each.error_code]
    assert 800_000 < told.permit_wait_us < 1_700_000  # each by itself: 1.8 s at least
    await asyncio.gather(*held)


async def test_a_server_that_leaves_sends_all_who_wait_and_come_to_another_colo(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.full("lhr", service_s=99.0)
    held = ams.busy(1)
    await settled(held)
    waiting = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await settled([waiting])

    ams.server.drain()
    ams.server.hand_over()
    reply, late = await waiting, await ams.server.infer(a_request())

    assert (reply.outcome.serving_colo, reply.outcome.hops) == ("lhr", 1)
    assert late.outcome.serving_colo == "lhr"
    assert lhr.events[0].flags & Flag.QUEUED_IN_COLO
    assert ams.server.report().resources[0].draining  # type: ignore[union-attr]
    ams.release.set()
    assert (await held[0]).payload == b"held"


async def test_a_server_that_leaves_alone_lets_its_callers_know(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    held = ams.busy(1)
    await settled(held)
    waiting = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await settled([waiting])

    ams.server.hand_over()

    with pytest.raises(ServerLost):
        await waiting
    with pytest.raises(ServerLost):
        await ams.server.infer(a_request())


async def test_it_reports_at_once_when_it_is_full_and_when_no_more(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    ams.server.report()
    ams.woken = 0
    held = ams.busy(2)
    await settled(held)
    assert ams.woken == 1

    assert ams.load.free == 0
    ams.release.set()
    await asyncio.gather(*held)

    assert ams.woken == 2


async def test_it_reports_at_once_when_its_first_instance_is_ready(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    there = Instance(id="ams-i", model=MODEL, colo="ams", address="ams:1", state="ready")
    cluster.tell(replace(there, state="booting"))
    assert ams.load.free == 0
    ams.woken = 0

    cluster.tell(there)
    assert (ams.woken, ams.load.free) == (1, 1)

    cluster.tell(there)
    assert ams.woken == 1
