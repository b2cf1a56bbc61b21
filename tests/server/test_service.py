"""The server: what it answers, what it records, and that every permit comes back."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from libs.common.catalog import Backend as BackendConfig
from libs.common.catalog import UsageTensors
from libs.common.envelope import InferReply, Part, TimeBounds
from libs.common.envelopes import request_from_pb
from libs.common.errors import (
    Aborted,
    DeadlineExceeded,
    Internal,
    ModelFailed,
    ModelStarting,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag, InferenceEvent
from libs.common.pb.inference_pb2 import InferRequest as InferRequestMessage
from libs.common.world import World
from libs.common.world_map import Ref, ShardLoad, Update
from services.server.endpoints import Endpoint
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_model, a_request, a_server, a_world, an_instance, put


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def world() -> World:
    return a_world(an_instance(0))


@pytest.fixture
def server(world: World, backend: ScriptedBackend, sink: MemorySink) -> InferenceServer:
    return a_server(world, backend, sink)


def load(server: InferenceServer) -> ShardLoad:
    (found,) = [each for each in server.report().resources if isinstance(each, ShardLoad)]
    return found


def event(sink: MemorySink) -> InferenceEvent:
    (found,) = sink.events
    assert isinstance(found, InferenceEvent)
    return found


def raising(error: BaseException) -> Callable[..., object]:
    async def fail(*_: object) -> bytes:
        raise error

    return fail


async def test_an_answer_comes_with_its_outcome(server: InferenceServer) -> None:
    reply = await server.infer(a_request())

    assert reply.payload == b"hello"
    assert reply.outcome.serving_colo == "ams"
    assert reply.outcome.endpoint == "127.0.0.1:9000"
    assert reply.outcome.chosen_because == "only"
    assert (reply.outcome.free_permits, reply.outcome.queue_length) == (2, 0)


async def test_one_event_tells_of_the_call(server: InferenceServer, sink: MemorySink) -> None:
    await server.infer(a_request(client_request_id="mine", bytes_in=17))

    told = event(sink)
    assert (told.error_code, told.http_status, told.bytes_in, told.bytes_out) == (0, 200, 17, 5)
    assert told.client_request_id == "mine"
    assert told.model_container_id == "ams-node/echo/0"
    assert told.neurons == 1.5  # one per request and half a one for its one part
    assert 0 <= told.queue_us <= told.request_time_ms * 1000


async def test_a_stream_holds_its_permit_to_its_end(
    server: InferenceServer, sink: MemorySink
) -> None:
    held = [load(server).in_flight async for _ in server.stream(a_request(stream=True))]

    assert held == [1, 1, 1, 0]
    assert event(sink).flags & Flag.STREAMED


async def test_the_last_part_has_the_outcome(server: InferenceServer) -> None:
    parts = [part async for part in server.stream(a_request())]

    assert [part.payload for part in parts] == [b"part 0", b"part 1", b"part 2", b""]
    assert [part.outcome is None for part in parts] == [True, True, True, False]


async def test_leaving_a_stream_stops_the_model_and_frees_the_permit(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    async with aclosing(server.stream(a_request())) as parts:
        await anext(parts)

    assert (backend.closed, load(server).in_flight) == (1, 0)
    assert (event(sink).error_code, event(sink).flags & Flag.CANCELLED) == (3008, Flag.CANCELLED)


async def test_a_cancelled_call_frees_its_permit(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment,return-value]
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert (load(server).in_flight, event(sink).error_code) == (0, 3008)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ({"account": "a" * 32, "request_id": "0" * 26}, 1),
        ({"account": "a" * 32, "request_id": "mine", "by_client_id": True}, 1),
        ({"account": "b" * 32, "request_id": "0" * 26}, 0),
        ({"account": "a" * 32, "request_id": "mine"}, 0),
    ],
    ids=["ours", "the client's", "of another account", "the client's as ours"],
)
async def test_an_account_cancels_its_own_calls(
    server: InferenceServer, backend: ScriptedBackend, ids: dict[str, object], found: int
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment,return-value]
    call = asyncio.create_task(server.infer(a_request(client_request_id="mine")))
    await asyncio.sleep(0.01)

    assert server.cancel(**ids) == found  # type: ignore[arg-type]

    if found:
        with pytest.raises(Aborted):
            await call
        assert not call.cancelled()
    call.cancel()


async def test_calls_beyond_the_permits_queue_and_beyond_the_queue_are_rejected(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    release = asyncio.Event()

    async def wait(*_: object) -> bytes:
        await release.wait()
        return b"done"

    backend.on_infer = wait
    calls = [asyncio.create_task(server.infer(a_request())) for _ in range(6)]
    await asyncio.sleep(0.01)
    assert (load(server).in_flight, load(server).queued) == (2, 2)
    release.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(each) for each in ends].count(InferReply) == 4
    rejected = [each for each in ends if isinstance(each, OutOfCapacity)]
    assert len(rejected) == 2
    assert all(each.retry_after_ms >= 1000 for each in rejected)
    assert sorted(each.error_code for each in sink.events) == [0, 0, 0, 0, 3040, 3040]  # type: ignore[union-attr]
    assert load(server).rejected == {"ams": 2}


async def test_reject_if_busy_never_queues(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment,return-value]
    calls = [asyncio.create_task(server.infer(a_request())) for _ in range(2)]
    await asyncio.sleep(0.01)

    with pytest.raises(OutOfCapacity):
        await server.infer(a_request(reject_if_busy=True))

    assert load(server).queued == 0
    for call in calls:
        call.cancel()


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


async def test_a_call_waits_for_an_instance_that_becomes_ready(
    world: World, server: InferenceServer
) -> None:
    put(world, an_instance(0, state="booting"))
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)

    put(world, an_instance(0, state="ready"))

    assert (await call).payload == b"hello"


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
            endpoint.recovered()
        shard.turnstile.admit()

    assert (await call).payload == b"hello"


async def test_a_stream_that_breaks_after_its_first_part_is_lost(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    async def breaks(*_: object) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise Unavailable("connection reset", sent=True)

    backend.on_stream = breaks
    parts: list[Part] = []

    with pytest.raises(StreamLost):
        async for part in server.stream(a_request()):
            parts.append(part)  # noqa: PERF401 - what came before the error counts

    assert [part.payload for part in parts] == [b"one"]
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
        async for _ in server.stream(a_request(time_bounds=bounds)):
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


async def test_a_draining_endpoint_finishes_its_calls_and_gets_no_more(
    world: World, server: InferenceServer, backend: ScriptedBackend
) -> None:
    put(world, an_instance(1))
    streams = [server.stream(a_request()) for _ in range(2)]
    for each in streams:
        await anext(each)

    put(world, an_instance(0, state="draining"))
    for _ in range(3):
        await server.infer(a_request())

    draining, healthy = load(server).endpoints
    assert (draining.state, draining.in_flight) == ("draining", 1)
    assert {instance for instance, _ in backend.calls[2:]} == {healthy.instance}
    for each in streams:
        assert [part.payload async for part in each][-1] == b""


async def test_a_lost_shard_sends_its_queue_away(world: World, server: InferenceServer) -> None:
    put(world, an_instance(0, state="booting"))
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)

    world.apply(Update(version=9, deletes=(Ref("shard", "ams/0/@cf/test/echo"),)))

    with pytest.raises(Unavailable):
        await call


async def test_a_changed_catalog_changes_the_permits(world: World, server: InferenceServer) -> None:
    from libs.common.catalog import Permits

    put(world, a_model(permits=Permits(per_instance=7, queue=1)))

    assert load(server).permits == 7


async def test_parts_that_come_without_a_pause_keep_the_total_too(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    async def endless(*_: object) -> AsyncGenerator[bytes, None]:
        while True:
            yield b"part"

    backend.on_stream = endless

    with pytest.raises(DeadlineExceeded):
        async for _ in server.stream(a_request(time_bounds=TimeBounds(total_ms=50))):
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


def test_a_cost_that_was_left_out_on_the_wire_is_one() -> None:
    assert request_from_pb(InferRequestMessage(payload_kind=1)).cost == 1
