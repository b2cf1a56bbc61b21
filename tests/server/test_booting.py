"""Calls for a model without an instance: they wait for its boot if they can, else hear how long."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.common.catalog import Bounds, Scaling
from libs.common.clock import ManualClock
from libs.common.errors import ModelStarting, OutOfCapacity
from libs.common.events.sinks import MemorySink
from libs.common.world_map import Colo, Decision, Resource
from services.server.booting import boot_left_s
from tests.fakes import (
    COLO,
    MODEL,
    ScriptedBackend,
    a_model,
    a_request,
    a_server,
    a_world,
    an_instance,
    put,
)
from tests.server.looking import load

NOW_MS = 1_000_000
CATALOG = a_model(scaling=Scaling(boot_s=40, region={"eu": Bounds(boot_s=30)}))
EUROPE = Colo(name=COLO, region="eu")
MEASURED = Decision(
    model=MODEL,
    region="eu",
    at_ms=1,
    demand=0,
    forecast=0,
    running=0,
    required=0,
    desired=0,
    boot_s=20.0,
)


def booting(number: int, since_s: float, colo: str = COLO) -> Resource:
    since_ms = NOW_MS - int(1000 * since_s)
    return replace(an_instance(number, state="booting"), since_ms=since_ms, colo=colo)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), 40.0),
        ((EUROPE,), 30.0),
        ((EUROPE, MEASURED), 20.0),
        ((booting(0, 10.0), booting(1, 15.0)), 25.0),
        ((booting(0, 90.0),), 1.0),
        ((booting(0, 15.0, colo="far"),), 40.0),
        ((EUROPE, Colo(name="lhr", region="eu"), booting(0, 12.0, colo="lhr")), 18.0),
    ],
    ids=["the catalog's", "the region's", "as measured", "the first", "overdue", "far", "near"],
)
def test_what_is_left_of_a_boot(there: tuple[Resource, ...], expected: float) -> None:
    world = a_world(*there, model=CATALOG)

    assert boot_left_s(world, CATALOG, COLO, now_ms=NOW_MS) == expected


@pytest.mark.parametrize(("boot_s", "told_ms"), [(7.5, 7_500), (240.0, 60_000)])
async def test_a_call_that_cannot_wait_so_long_is_told_at_once(boot_s: float, told_ms: int) -> None:
    world = a_world(model=a_model(scaling=Scaling(min=0, boot_s=boot_s)))
    woken: list[int] = []
    server = a_server(
        world,
        ScriptedBackend(),
        MemorySink(),
        ManualClock(),
        wake=lambda: woken.append(1),
    )

    with pytest.raises(ModelStarting) as refused:
        await asyncio.wait_for(server.infer(a_request()), timeout=0.2)

    assert refused.value.retry_after_ms == told_ms
    assert f"expected in {boot_s:.1f} s" in str(refused.value)
    assert load(server).rejected == {COLO: 1}
    assert woken


async def test_a_call_that_can_waits_for_the_boot() -> None:
    world = a_world(model=a_model(scaling=Scaling(min=0, boot_s=1.5)))
    server = a_server(world, ScriptedBackend(), MemorySink())
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.02)
    assert load(server).queued == 1

    put(world, an_instance(0))

    assert (await call).outcome.endpoint == an_instance(0).address


async def test_one_that_falls_back_does_not_wait_for_the_boot() -> None:
    world = a_world(model=a_model(scaling=Scaling(min=0, boot_s=1.5)))
    server = a_server(world, ScriptedBackend(), MemorySink())

    with pytest.raises(ModelStarting):
        await asyncio.wait_for(server.infer(a_request(falls_back=True)), timeout=0.2)

    assert load(server).rejected == {COLO: 1}


async def test_one_that_never_waits_wakes_the_model_and_hears_how_long_it_boots() -> None:
    world = a_world(model=a_model(scaling=Scaling(min=0, boot_s=7.5)))
    woken: list[int] = []
    server = a_server(world, ScriptedBackend(), MemorySink(), wake=lambda: woken.append(1))
    woken.clear()

    with pytest.raises(ModelStarting) as refused:
        await server.infer(a_request(reject_if_busy=True))

    assert refused.value.retry_after_ms == 7_500
    assert load(server).rejected == {COLO: 1}
    assert woken


async def test_one_that_never_waits_hears_that_all_are_busy_where_an_instance_is() -> None:
    world = a_world(an_instance(0), model=a_model(scaling=Scaling(min=0, boot_s=7.5)))
    server = a_server(world, ScriptedBackend(), MemorySink())
    (shard,) = server.shards
    lease = shard.turnstile.try_lease(a_request(cost=shard.turnstile.permits))
    assert lease is not None

    with lease, pytest.raises(OutOfCapacity):
        await server.infer(a_request(reject_if_busy=True))


async def test_calls_that_entered_elsewhere_are_counted_by_where() -> None:
    server = a_server(a_world(an_instance(0)), ScriptedBackend(), MemorySink())

    for source in (COLO, "lhr", "lhr", ""):
        await server.infer(a_request(source_colo=source))

    assert load(server).arrivals == 4
    assert load(server).foreign == {"lhr": 2}
