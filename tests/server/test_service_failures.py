"""The server when things go wrong: what is retried, what is told, what is recorded."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator

import pytest

from libs.common.catalog import Backend as BackendConfig
from libs.common.catalog import UsageTensors
from libs.common.envelope import Parts, TimeBounds
from libs.common.errors import (
    DeadlineExceeded,
    Internal,
    ModelFailed,
    ModelStarting,
    QueueTimeUsedUp,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.events.sinks import MemorySink
from libs.common.world import World
from libs.common.world_map import Ref, Update
from services.server.endpoints import Endpoint
from services.server.outliers import Verdict
from services.server.records import Record
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_model, a_request, a_server, a_world, an_instance, put
from tests.server.looking import event, load, raising
from tests.streams import parts_of


async def test_queue_time_is_bounded_by_the_request(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment,return-value]
    calls = [asyncio.create_task(server.infer(a_request())) for _ in range(2)]
    await asyncio.sleep(0.01)

    with pytest.raises(QueueTimeUsedUp):
        await server.infer(a_request(max_queue_ms=20))

    for call in calls:
        call.cancel()


async def test_a_model_without_a_ready_instance_is_starting(
    world: World, server: InferenceServer
) -> None:
    put(world, an_instance(0, state="booting"))

    with pytest.raises(ModelStarting):
        await server.infer(a_request(max_queue_ms=20))


async def test_a_refused_connection_is_retried_on_another_endpoint(
    world: World, server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    put(world, an_instance(1))

    async def first_is_dead(endpoint: Endpoint, _: object) -> bytes:
        if endpoint.instance.endswith("/0"):
            raise Unavailable("connection refused")
        return b"from the other"

    backend.on_infer = first_is_dead
    replies = [await server.infer(a_request()) for _ in range(8)]

    assert {reply.payload for reply in replies} == {b"from the other"}
    assert [e.state for e in load(server).endpoints] == ["backoff", "healthy"]
    assert len(sink.events) == 8


@pytest.mark.parametrize("sent", [True, False], ids=["after it was sent", "twice"])
async def test_what_may_have_reached_the_model_or_was_retried_is_not_retried(
    world: World, server: InferenceServer, backend: ScriptedBackend, sent: bool
) -> None:
    put(world, an_instance(1), an_instance(2))
    backend.on_infer = raising(Unavailable("lost", sent=sent))  # type: ignore[assignment]

    with pytest.raises(Unavailable):
        await server.infer(a_request())

    assert len(backend.calls) == (1 if sent else 2)


async def test_a_lost_call_waits_for_its_only_endpoint_to_come_back(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    backend.on_infer = raising(Unavailable("refused"))  # type: ignore[assignment]
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)
    assert load(server).permits == 0

    backend.on_infer = backend._echo
    for shard in server.shards:
        for endpoint in shard.turnstile.endpoints.values():
            endpoint.condition.retry_at = 0.0
            server.losses.health.probed(shard, endpoint, Verdict(is_up=True))

    assert (await call).payload == b"hello"


async def test_a_stream_that_breaks_after_its_first_part_is_lost(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    async def breaks(*_: object) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise Unavailable("connection reset", sent=True)

    backend.on_stream = breaks
    parts: list[Parts] = []

    with pytest.raises(StreamLost):
        async for part in parts_of(server, a_request()):
            parts.append(part)  # noqa: PERF401 - what came before the error counts

    assert [list(part.payloads) for part in parts] == [[b"one"]]
    assert (event(sink).error_code, load(server).in_flight) == (3045, 0)


@pytest.mark.parametrize(
    ("bounds", "parts_before"),
    [
        (TimeBounds(first_part_ms=20, idle_ms=2_000), 0),
        (TimeBounds(first_part_ms=2_000, idle_ms=20), 1),
        (TimeBounds(first_part_ms=2_000, idle_ms=2_000, total_ms=60), 1),
    ],
    ids=["first part", "idle gap", "total"],
)
async def test_a_stream_keeps_its_time_bounds(
    server: InferenceServer, backend: ScriptedBackend, bounds: TimeBounds, parts_before: int
) -> None:
    async def slow(*_: object) -> AsyncGenerator[bytes, None]:
        for _number in range(parts_before):
            yield b"part"
        await asyncio.sleep(9)
        yield b"never"

    backend.on_stream = slow
    seen = 0

    with pytest.raises(DeadlineExceeded):
        async for _ in parts_of(server, a_request(time_bounds=bounds)):
            seen += 1

    assert (seen, load(server).in_flight, backend.closed) == (parts_before, 0, 1)


@pytest.mark.parametrize(
    ("raised", "code"),
    [(ModelFailed("no"), 3044), (RuntimeError("a bug"), 3046)],
    ids=["the model's", "ours"],
)
async def test_a_failure_is_recorded_and_passed_on(
    server: InferenceServer,
    backend: ScriptedBackend,
    sink: MemorySink,
    raised: Exception,
    code: int,
) -> None:
    backend.on_infer = raising(raised)  # type: ignore[assignment]

    with pytest.raises(type(raised)):
        await server.infer(a_request())

    assert (event(sink).error_code, load(server).in_flight) == (code, 0)
    assert Internal.code == 3046


@pytest.mark.parametrize(
    "changes",
    [{"model": "@cf/other"}, {"shard": 7}, {"shard_epoch": 2}],
    ids=["another model", "another shard", "a newer epoch"],
)
async def test_what_is_not_ours_is_unavailable_here_and_recorded(
    server: InferenceServer, sink: MemorySink, changes: dict[str, object]
) -> None:
    with pytest.raises(RequestError) as caught:
        await server.infer(a_request(**changes))

    assert caught.value.retryable
    assert event(sink).error_code == 3043


async def test_a_lost_shard_sends_its_queue_away(world: World, server: InferenceServer) -> None:
    put(world, an_instance(0, state="booting"))
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)

    world.apply(Update(version=9, deletes=(Ref("shard", "ams/0/@cf/test/echo"),)))

    with pytest.raises(Unavailable):
        await call


async def test_parts_that_come_without_a_pause_keep_the_total_too(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    async def endless(*_: object) -> AsyncGenerator[bytes, None]:
        while True:
            yield b"part"

    backend.on_stream = endless

    with pytest.raises(DeadlineExceeded):
        async for _ in parts_of(server, a_request(time_bounds=TimeBounds(total_ms=50))):
            pass


async def test_a_model_whose_endpoints_are_all_lost_is_unavailable(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    backend.on_infer = raising(Unavailable("refused"))  # type: ignore[assignment]

    with pytest.raises(Unavailable) as caught:
        await server.infer(a_request(time_bounds=TimeBounds(first_part_ms=50)))

    assert caught.value.retry_after_ms >= 1000


@pytest.mark.parametrize("dialect", ["vllm", "seeds"])
async def test_an_answer_that_cannot_be_read_is_an_event_all_the_same(
    backend: ScriptedBackend, sink: MemorySink, dialect: str
) -> None:
    tensors = UsageTensors(tokens_in="in", tokens_out="out")
    model = a_model(backend=BackendConfig(repository="r/echo", dialect=dialect, usage=tensors))  # type: ignore[arg-type]
    server = a_server(a_world(an_instance(0), model=model), backend, sink)

    reply = await server.infer(a_request(payload=b"\xff\xff garbage"))

    assert reply.payload == b"\xff\xff garbage"
    assert event(sink).tokens_out == 1


def test_a_model_renamed_with_its_old_name_as_an_alias_harms_nobody(
    world: World, server: InferenceServer
) -> None:
    old, renamed = a_model(), a_model("@cf/test/new", aliases=("@cf/test/echo",))

    world.apply(Update(version=9, puts=(renamed,), deletes=(Ref("model", old.name),)))

    assert list(server.shards) == []


async def test_a_failed_call_leaves_nothing_to_the_garbage_collector(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    async def fail(*_: object) -> bytes:
        raise ModelFailed("no")  # a new one each time: an error holds its frames

    backend.on_infer = fail
    request = a_request()

    gc.disable()
    try:
        with contextlib.suppress(ModelFailed):
            await server.infer(request)
        records = [each for each in gc.get_objects() if isinstance(each, Record)]
    finally:
        gc.enable()

    assert [each for each in records if each.request is request] == []
