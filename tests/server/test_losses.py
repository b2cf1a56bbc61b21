"""Losses: retries within their budget, calls on a dead instance, and requests that kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from libs.common.clock import ManualClock
from libs.common.envelope import InferRequest, TimeBounds
from libs.common.errors import KillsInstances, OutOfCapacity, StreamLost, Unavailable
from libs.common.events.sinks import MemorySink
from libs.common.world import World
from services.server.endpoints import Endpoint
from services.server.errors import EndpointFull, InstanceDead, InstanceLost
from services.server.health import FULL_S
from services.server.killers import Killers
from services.server.outliers import Verdict
from services.server.retries import RetryLimits
from services.server.service import InferenceServer
from tests.fakes import COLO, MODEL, ScriptedBackend, a_request, a_server, an_instance, put
from tests.server.looking import event, load, raising
from tests.streams import parts_of

UP, DOWN = Verdict(is_up=True), Verdict(is_up=False)


def retries(server: InferenceServer, outcome: str) -> int:
    return server.losses.metrics.retries[COLO, MODEL, outcome]


def recover(server: InferenceServer) -> None:
    for shard in server.shards:
        for endpoint in shard.turnstile.endpoints.values():
            endpoint.condition.recover(0.0)
        server.losses.health.settle(shard)


async def test_retries_stop_at_their_budget(
    world: World, server: InferenceServer, backend: ScriptedBackend
) -> None:
    put(world, an_instance(1))
    backend.on_infer = raising(Unavailable("refused"))  # type: ignore[assignment]

    for _ in range(60):
        recover(server)
        with pytest.raises(Unavailable):
            await server.infer(a_request())

    assert 30 <= retries(server, "retried") <= 50  # ten seconds' worth, and a fifth of the calls
    assert retries(server, "retried") + retries(server, "refused") == 60
    assert len(backend.calls) == 60 + retries(server, "retried")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_finds_an_endpoint_full_goes_to_another_and_no_more_come_there(
    world: World, server: InferenceServer, backend: ScriptedBackend, stream: bool
) -> None:
    put(world, an_instance(1))
    ended = 0

    async def one_is_full(endpoint: Endpoint, request: InferRequest) -> bytes:
        if endpoint.instance.endswith("/0"):
            raise EndpointFull("the model's own queue is full")
        return b"ok"

    async def parts(endpoint: Endpoint, request: InferRequest) -> AsyncGenerator[bytes, None]:
        yield await one_is_full(endpoint, request)

    backend.on_infer, backend.on_stream = one_is_full, parts
    for _ in range(12):
        if stream:
            async for _ in parts_of(server, a_request(stream=True)):
                pass
        else:
            await server.infer(a_request())
        ended += 1

    assert ended == 12
    assert retries(server, "retried") == 1
    assert len([each for each, _ in backend.calls if each.endswith("/0")]) == 1
    assert load(server).free == 2  # the other's


async def test_an_endpoint_that_was_full_gets_calls_again_a_moment_later(
    backend: ScriptedBackend, world: World, sink: MemorySink
) -> None:
    clock = ManualClock()
    server = a_server(world, backend, sink, clock)
    (shard,) = server.shards
    fulls = [EndpointFull("full")]

    async def at_first(endpoint: Endpoint, request: InferRequest) -> bytes:
        if fulls:
            raise fulls.pop()
        return b"ok"

    backend.on_infer = at_first
    calls = [asyncio.create_task(server.infer(a_request())) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (shard.turnstile.free, shard.turnstile.waiting) == (0, 2)
    clock.advance(FULL_S)
    server.losses.health.sample(server.shards)
    await asyncio.wait_for(asyncio.gather(*calls), 2)

    assert (shard.turnstile.free, shard.turnstile.permits) == (2, 2)
    assert [e.condition.state for e in shard.turnstile.endpoints.values()] == ["healthy"]


async def test_a_call_that_finds_everyone_full_is_told_so_as_one_that_has_not_been_sent(
    world: World, server: InferenceServer, backend: ScriptedBackend
) -> None:
    put(world, an_instance(1))
    backend.on_infer = raising(EndpointFull("full"))  # type: ignore[assignment]

    with pytest.raises(OutOfCapacity) as told:
        await server.infer(a_request())

    assert (told.value.sent, len(backend.calls)) == (False, 2)


async def test_without_a_budget_nothing_is_retried(
    world: World, backend: ScriptedBackend, sink: MemorySink
) -> None:
    server = a_server(world, backend, sink, retries=RetryLimits(share=0, per_s=0))
    put(world, an_instance(1))
    backend.on_infer = raising(Unavailable("refused"))  # type: ignore[assignment]

    with pytest.raises(Unavailable):
        await server.infer(a_request())

    assert len(backend.calls) == 1


async def test_a_call_whose_time_is_up_is_not_retried(
    world: World, backend: ScriptedBackend, sink: MemorySink
) -> None:
    clock = ManualClock()
    server = a_server(world, backend, sink, clock)
    put(world, an_instance(1))

    async def late(*_: object) -> bytes:
        clock.advance(5)
        raise Unavailable("refused")

    backend.on_infer = late

    with pytest.raises(Unavailable):
        await server.infer(a_request(time_bounds=TimeBounds(first_part_ms=4000)))

    assert (len(backend.calls), retries(server, "retried")) == (1, 0)


async def test_calls_on_an_instance_that_turns_out_dead_do_not_wait_for_it(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    async def begins_and_hangs(*_: object) -> AsyncGenerator[bytes, None]:
        yield b"one"
        await asyncio.sleep(60)

    backend.on_stream = begins_and_hangs
    backend.on_infer = raising(InstanceDead("not healthy", sent=True))  # type: ignore[assignment]
    seen: list[bytes] = []

    async def listen() -> None:
        async for part in parts_of(server, a_request(stream=True)):
            seen.extend(part.payloads)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await server.infer(a_request(payload=b"other"))
    with pytest.raises(StreamLost):
        await asyncio.wait_for(listening, 1)

    assert seen == [b"one"]
    assert (backend.closed, load(server).in_flight, server.in_flight) == (1, 0, 0)
    assert sorted(each.error_code for each in sink.events) == [3043, 3045]  # type: ignore[union-attr]


async def test_a_call_on_a_dead_instance_that_has_no_part_yet_is_unavailable(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    async def hangs(endpoint: Endpoint, request: InferRequest) -> bytes:
        if request.payload == b"other":
            raise InstanceDead("not healthy", sent=True)
        await asyncio.sleep(60)
        return b""

    backend.on_infer = hangs
    waiting = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await server.infer(a_request(payload=b"other"))

    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(waiting, 1)
    assert caught.value.sent


async def test_a_request_that_has_killed_two_instances_gets_no_third(
    world: World, server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    put(world, an_instance(1), an_instance(2))

    async def die(endpoint: Endpoint, request: InferRequest) -> bytes:
        if request.payload == b"poison":
            raise InstanceLost("connection reset", sent=True)
        return b"well"

    backend.on_infer = die
    for _ in range(2):
        with pytest.raises(Unavailable):
            await server.infer(a_request(payload=b"poison"))
    sink.events.clear()

    with pytest.raises(KillsInstances) as caught:
        await server.infer(a_request(payload=b"poison"))

    assert (caught.value.http, caught.value.retryable) == (422, False)
    assert event(sink).error_code == 3055
    assert len(backend.calls) == 2
    assert (await server.infer(a_request(payload=b"others"))).payload == b"well"


@pytest.mark.parametrize(
    ("verdicts", "is_killer"),
    [([UP], False), ([DOWN, UP], True)],
    ids=["there all the time", "gone for a while"],
)
async def test_connections_that_an_instance_loses_are_no_deaths_while_it_is_there(
    world: World,
    backend: ScriptedBackend,
    sink: MemorySink,
    verdicts: list[Verdict],
    *,
    is_killer: bool,
) -> None:
    clock = ManualClock()
    server = a_server(world, backend, sink, clock)
    (shard,) = server.shards
    (endpoint,) = shard.turnstile.endpoints.values()
    backend.on_infer = raising(InstanceLost("reset", sent=True))  # type: ignore[assignment]

    for _ in range(2):
        with pytest.raises(Unavailable):
            await server.infer(a_request())
        for verdict in verdicts:
            clock.advance(13)
            server.losses.health.probed(shard, endpoint, verdict)
    refusal = KillsInstances if is_killer else Unavailable

    with pytest.raises(refusal):
        await server.infer(a_request())


async def test_who_was_only_near_may_run_again(
    world: World, server: InferenceServer, backend: ScriptedBackend
) -> None:
    put(world, an_instance(1), an_instance(2))
    request = a_request()
    for number in range(2):
        backend.on_infer = raising(InstanceLost("reset", sent=True))  # type: ignore[assignment]
        with pytest.raises(Unavailable):
            await server.infer(request)
        if number == 0:
            backend.on_infer = backend._echo
            await server.infer(request)

    backend.on_infer = backend._echo
    assert (await server.infer(request)).payload == b"hello"


async def test_without_suspects_nothing_is_computed(
    server: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    for name in ("has_killed", "acquit", "ran"):
        monkeypatch.setattr(Killers, name, never)

    assert (await server.infer(a_request())).payload == b"hello"
