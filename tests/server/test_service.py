"""The server: what it answers, what it records, and that every permit comes back."""

import asyncio
from contextlib import aclosing

import pytest

from libs.common.catalog import Lora
from libs.common.clock import ManualClock
from libs.common.envelope import InferReply, InferRequest, Units
from libs.common.envelopes import request_from_bytes
from libs.common.errors import (
    Aborted,
    OutOfCapacity,
    Unavailable,
)
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag, InferenceEvent
from libs.common.pb.inference_pb2 import InferRequest as InferRequestMessage
from libs.common.world import World
from services.server.endpoints import Endpoint
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_model, a_request, a_server, a_world, an_instance, put
from tests.server.looking import event, load, raising
from tests.streams import parts_of


async def test_an_answer_comes_with_its_outcome(server: InferenceServer) -> None:
    reply = await server.infer(a_request())

    assert reply.payload == b"hello"
    assert reply.outcome.serving_colo == "ams"
    assert reply.outcome.endpoint == "127.0.0.1:9000"
    assert reply.outcome.chosen_because == "only"
    assert (reply.outcome.free_permits, reply.outcome.queue_length) == (2, 0)


async def test_of_a_stream_that_goes_on_the_output_alone_is_priced(
    server: InferenceServer, sink: MemorySink
) -> None:
    units = Units(input_characters=1000)
    outcome = await server.stream(
        a_request(stream=True, attempt=1, continued_from=9, units=units), lambda _: None
    )

    told = event(sink)
    assert (told.attempt, told.continued_from) == (1, 9)
    assert (told.tokens_in, told.tokens_out) == (0, 3)
    assert told.neurons == outcome.usage.neurons == 1.5  # half a one for each part


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
    held = [load(server).in_flight async for _ in parts_of(server, a_request(stream=True))]

    assert held == [1, 1, 1, 0]
    assert event(sink).flags & Flag.STREAMED


async def test_the_last_part_has_the_outcome(server: InferenceServer) -> None:
    parts = [part async for part in parts_of(server, a_request())]

    payloads = [list(part.payloads) for part in parts]
    assert payloads == [[b"part 0"], [b"part 1"], [b"part 2"], []]
    assert [part.outcome is None for part in parts] == [True, True, True, False]


async def test_leaving_a_stream_stops_the_model_and_frees_the_permit(
    server: InferenceServer, backend: ScriptedBackend, sink: MemorySink
) -> None:
    async with aclosing(parts_of(server, a_request())) as parts:
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
        ({"account": "a" * 32, "request_id": "mine"}, 1),
        ({"account": "b" * 32, "request_id": "0" * 26}, 0),
        ({"account": "a" * 32, "request_id": "1" * 26}, 0),
    ],
    ids=["ours", "the client's", "of another account", "another"],
)
async def test_an_account_cancels_its_own_calls(
    server: InferenceServer, backend: ScriptedBackend, ids: dict[str, object], found: int
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment,return-value]
    call = asyncio.create_task(server.infer(a_request(client_request_id="mine")))
    await asyncio.sleep(0.01)

    assert len(await server.cancel(**ids)) == found  # type: ignore[arg-type]

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


async def test_a_call_waits_for_an_instance_that_becomes_ready(
    world: World, server: InferenceServer
) -> None:
    put(world, an_instance(0, state="booting"))
    call = asyncio.create_task(server.infer(a_request()))
    await asyncio.sleep(0.01)

    put(world, an_instance(0, state="ready"))

    assert (await call).payload == b"hello"


async def test_a_draining_endpoint_finishes_its_calls_and_gets_no_more(
    world: World, server: InferenceServer, backend: ScriptedBackend
) -> None:
    put(world, an_instance(1))
    streams = [parts_of(server, a_request()) for _ in range(2)]
    for each in streams:
        await anext(each)

    put(world, an_instance(0, state="draining"))
    for _ in range(3):
        await server.infer(a_request())

    draining, healthy = load(server).endpoints
    assert (draining.state, draining.in_flight) == ("draining", 1)
    assert {instance for instance, _ in backend.calls[2:]} == {healthy.instance}
    for each in streams:
        assert [part.outcome async for part in each][-1]


async def test_a_changed_catalog_changes_the_permits(world: World, server: InferenceServer) -> None:
    from libs.common.catalog import Permits

    put(world, a_model(permits=Permits(per_instance=7, queue=1)))

    assert load(server).permits == 7


def test_a_cost_that_was_left_out_on_the_wire_is_one() -> None:
    assert request_from_bytes(InferRequestMessage(payload_kind=1).SerializeToString()).cost == 1


async def test_a_cancel_that_comes_after_the_end_cancels_nobody(server: InferenceServer) -> None:
    parts = [part async for part in parts_of(server, a_request())]
    stream = parts_of(server, a_request())
    for _ in parts:
        last = await anext(stream)
    assert last.outcome is not None

    await server.cancel(account="a" * 32, request_id="0" * 26)
    await asyncio.sleep(0)
    await stream.aclose()

    assert server.in_flight == 0


async def test_an_adapter_is_found_again_and_the_report_tells_where_it_is(
    server: InferenceServer, world: World, backend: ScriptedBackend, sink: MemorySink
) -> None:
    put(world, an_instance(1))
    because = [
        (await server.infer(a_request(adapter="pirate"))).outcome.chosen_because for _ in range(4)
    ]

    homes = {instance for instance, _ in backend.calls}
    assert because == ["emptier", "adapter", "adapter", "adapter"]
    assert {each.instance: each.adapters for each in load(server).endpoints} == {
        each.instance: ("pirate",) if each.instance in homes else ()
        for each in load(server).endpoints
    }
    assert len(homes) == 1
    assert [
        told.chosen_because for told in sink.events if isinstance(told, InferenceEvent)
    ] == because


async def test_an_endpoint_holds_as_many_adapters_as_the_catalog_says(
    world: World, server: InferenceServer
) -> None:
    put(world, a_model(lora=Lora(enabled=True, resident=2)))

    for name in ("a", "b", "a", "c"):
        await server.infer(a_request(adapter=name))

    (endpoint,) = load(server).endpoints
    assert endpoint.adapters == ("a", "c")


async def test_an_instance_that_was_lost_holds_nothing(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    await server.infer(a_request(adapter="pirate"))
    backend.on_infer = raising(Unavailable("lost", sent=True))

    with pytest.raises(Unavailable):
        await server.infer(a_request(adapter="pirate"))

    (endpoint,) = load(server).endpoints
    assert endpoint.adapters == ()


async def test_with_several_endpoints_the_quicker_one_is_known() -> None:
    world, clock, backend = a_world(an_instance(), an_instance(1)), ManualClock(), ScriptedBackend()
    server = a_server(world, backend, MemorySink(), clock)

    async def slow_at_0(endpoint: Endpoint, request: InferRequest) -> bytes:
        clock.advance(0.4 if endpoint.instance.endswith("/0") else 0.1)
        return b""

    backend.on_infer = slow_at_0
    reasons = {(await server.infer(a_request())).outcome.chosen_because for _ in range(20)}

    assert reasons == {"emptier", "quicker"}
    assert backend.calls[-1][0].endswith("/1")
