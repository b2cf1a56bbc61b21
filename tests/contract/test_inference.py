"""What every `Inference` does: the server object itself, and a client of it in another process.

The model behind them is scripted, so that it can fail and stall on demand.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from libs.common.clients.inference import RemoteInference
from libs.common.envelope import Parts, PayloadKind, RequestSource, TimeBounds, Units
from libs.common.errors import (
    Aborted,
    DeadlineExceeded,
    Internal,
    ModelFailed,
    ModelRefused,
    OutOfCapacity,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.events.sinks import MemorySink
from libs.common.hop_tls import HopTls
from libs.common.hops import Transport, connect, listening
from libs.common.ports import Inference
from services.server.grpc_api import InferenceApi
from services.server.service import InferenceServer
from tests.certificates import certified
from tests.fakes import ScriptedBackend, a_request, a_server, a_world, an_instance, endless
from tests.short_dirs import short_dir
from tests.streams import parts_of
from tests.waiting import until

MEGABYTE = 1024 * 1024


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def server(backend: ScriptedBackend) -> InferenceServer:
    return a_server(a_world(an_instance(0)), backend, MemorySink())


WAYS = [
    "the object",
    *(
        f"{transport} over {way}"
        for transport in ("lean", "grpcio")
        for way in ("tcp", "a unix socket", "mutual tls")
    ),
]


@pytest.fixture(params=WAYS)
async def inference(
    request: pytest.FixtureRequest, server: InferenceServer
) -> AsyncIterator[Inference]:
    if request.param == "the object":
        yield server
        return
    transport, _, way = request.param.partition(" over ")
    with short_dir() as folder:
        address = f"unix:{folder}/server.sock" if "unix" in way else "localhost:0"
        tls = certified(folder) if "tls" in way else None
        async with connected(server, address, transport, tls) as client:
            yield client


@asynccontextmanager
async def connected(
    server: InferenceServer, address: str, transport: Transport, tls: HopTls | None
) -> AsyncIterator[RemoteInference]:
    handlers = InferenceApi(server).handlers()
    async with listening(address, handlers, transport=transport, drain_s=0.1, tls=tls) as bound:
        client = RemoteInference(bound, connect(bound, transport=transport, tls=tls))
        try:
            yield client
        finally:
            await client.close()


def joined(stream: list[Parts]) -> list[bytes]:
    return [payload for parts in stream for payload in parts.payloads]


async def test_unary(inference: Inference) -> None:
    reply = await inference.infer(a_request(payload=b"\x00binary\xff"))

    assert reply.payload == b"\x00binary\xff"
    assert reply.outcome.serving_colo == "ams"
    assert reply.outcome.usage.neurons == 1.5
    assert reply.outcome.free_permits == 2


async def test_the_whole_envelope_arrives(inference: Inference, backend: ScriptedBackend) -> None:
    sent = a_request(
        payload_kind=PayloadKind.RAW,
        content_type="image/png",
        task="dumb-pipe",
        client_request_id="mine",
        finetune="f",
        adapter="a",
        session="s",
        prefix_hashes=(1, 2**64 - 1),
        cost=2,
        priority=9,
        max_queue_ms=5,
        background=True,
        preferred_colo="lhr",
        time_bounds=TimeBounds(first_part_ms=1_000, idle_ms=2_000, total_ms=3_000),
        retry_count=1,
        attempt=2,
        continued_from=3,
        idempotency_key="k",
        visited_colos=("lhr",),
        queued_in_colo="lhr",
        shard_epoch=1,
        request_source=RequestSource.WORKER_BINDING,
        traceparent="00-ab-cd-01",
        units=Units(input_characters=1, pixels=2, steps=3, audio_seconds=0.5),
        bytes_in=99,
    )

    await inference.infer(sent)

    seen = sent.copy()
    seen.idempotency_key = ""  # the server has seen to it
    assert backend.calls == [("ams-node/echo/0", seen)]


async def test_a_large_payload_passes(inference: Inference) -> None:
    payload = bytes(5 * MEGABYTE)

    assert (await inference.infer(a_request(payload=payload))).payload == payload


async def test_a_stream_ends_with_its_outcome(inference: Inference) -> None:
    parts = [part async for part in parts_of(inference, a_request(stream=True))]

    assert joined(parts) == [b"part 0", b"part 1", b"part 2"]
    assert parts[-1].outcome is not None
    assert parts[-1].outcome.usage.tokens_out == 3


async def test_parts_come_as_they_are_made(inference: Inference, backend: ScriptedBackend) -> None:
    more = asyncio.Event()

    async def one_then_wait(*_: object) -> AsyncGenerator[bytes, None]:
        yield b"first"
        await more.wait()
        yield b"second"

    backend.on_stream = one_then_wait
    parts = parts_of(inference, a_request())

    assert list((await anext(parts)).payloads) == [b"first"]
    more.set()
    assert joined([part async for part in parts]) == [b"second"]


@pytest.mark.parametrize(
    "error",
    [
        ModelRefused("max_tokens: too many", sent=True),
        ModelFailed("broken: ünïcode", sent=True),
        OutOfCapacity("full", retry_after_ms=1234),
        Unavailable("lost", sent=True),
    ],
    ids=lambda error: error.reason,
)
async def test_an_error_arrives_as_what_it_is(
    inference: Inference, backend: ScriptedBackend, error: RequestError
) -> None:
    async def fail(*_: object) -> bytes:
        raise error

    backend.on_infer = fail

    with pytest.raises(type(error)) as caught:
        await inference.infer(a_request())

    assert str(caught.value) == str(error)
    assert (caught.value.sent, caught.value.retry_after_ms) == (error.sent, error.retry_after_ms)
    free = 0 if isinstance(error, Unavailable) else 2  # its endpoint is left alone for a while
    assert (caught.value.free_permits, caught.value.queue_length) == (free, 0)
    assert caught.value.recorded


async def test_a_bug_tells_no_details_to_another_process(
    inference: Inference, backend: ScriptedBackend
) -> None:
    async def fail(*_: object) -> bytes:
        raise RuntimeError("secret")

    backend.on_infer = fail

    with pytest.raises((Internal, RuntimeError)) as caught:
        await inference.infer(a_request())

    assert isinstance(caught.value, RuntimeError) or "secret" not in str(caught.value)


@pytest.mark.parametrize("transport", ["lean", "grpcio"])
async def test_an_answer_that_no_message_can_hold_ends_its_call(
    backend: ScriptedBackend, transport: Transport
) -> None:
    nowhere = replace(an_instance(0), address="\ud800")  # half of a character
    server = a_server(a_world(nowhere), backend, MemorySink())
    async with connected(server, "localhost:0", transport, None) as client:
        with pytest.raises(Internal):
            await client.infer(a_request())


async def test_a_stream_that_breaks_keeps_the_parts_before(
    inference: Inference, backend: ScriptedBackend
) -> None:
    async def breaks(*_: object) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise Unavailable("reset", sent=True)

    backend.on_stream = breaks
    payloads = []

    with pytest.raises(StreamLost):
        async for part in parts_of(inference, a_request()):
            payloads.extend(part.payloads)

    assert payloads == [b"one"]


async def test_cancelling_a_call_stops_the_model(
    inference: Inference, backend: ScriptedBackend, server: InferenceServer
) -> None:
    stopped = asyncio.Event()

    async def wait(*_: object) -> bytes:
        try:
            await asyncio.sleep(9)
        finally:
            stopped.set()
        return b""

    backend.on_infer = wait
    call = asyncio.create_task(inference.infer(a_request()))
    await until(lambda: backend.calls)

    call.cancel()

    await asyncio.wait_for(stopped.wait(), 3)
    await until(lambda: server.in_flight == 0)
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("name", ["0" * 26, "mine"])
async def test_a_call_is_cancelled_by_either_id(
    inference: Inference, backend: ScriptedBackend, name: str
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment,return-value]
    call = asyncio.create_task(inference.infer(a_request(client_request_id="mine")))
    await until(lambda: backend.calls)

    of_others = await inference.cancel(account="b" * 32, request_id=name)
    found = await inference.cancel(account="a" * 32, request_id=name)

    assert (list(of_others), list(found)) == ([], ["0" * 26])
    with pytest.raises(Aborted):
        await call
    assert not await inference.cancel(account="a" * 32, request_id=name)


async def test_leaving_a_stream_stops_the_model(
    inference: Inference, backend: ScriptedBackend, server: InferenceServer
) -> None:
    backend.on_stream = endless
    async with aclosing(parts_of(inference, a_request())) as parts:
        await anext(parts)

    await until(lambda: backend.closed == 1)
    await until(lambda: server.in_flight == 0)


async def test_a_deadline_ends_the_call(
    inference: Inference, backend: ScriptedBackend, server: InferenceServer
) -> None:
    async def silent(*_: object) -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(9)
        yield b"never"

    backend.on_stream = silent
    bounds = TimeBounds(first_part_ms=50, total_ms=5_000)

    with pytest.raises(DeadlineExceeded):
        await anext(parts_of(inference, a_request(time_bounds=bounds)))

    await until(lambda: server.in_flight == 0)


@pytest.mark.parametrize("parts_before", [0, 1], ids=["first part", "idle gap"])
async def test_each_wait_of_a_stream_is_bounded(
    inference: Inference, backend: ScriptedBackend, server: InferenceServer, parts_before: int
) -> None:
    async def stalls(*_: object) -> AsyncGenerator[bytes, None]:
        for _number in range(parts_before):
            yield b"part"
        await asyncio.sleep(9)

    backend.on_stream = stalls
    bounds = TimeBounds(first_part_ms=60, idle_ms=60, total_ms=5_000)
    came: list[bytes] = []

    with pytest.raises(DeadlineExceeded):
        async for parts in parts_of(inference, a_request(time_bounds=bounds)):
            came.extend(parts.payloads)

    assert len(came) == parts_before
    await until(lambda: server.in_flight == 0)


async def test_an_endless_stream_ends_with_its_time(
    inference: Inference, backend: ScriptedBackend, server: InferenceServer
) -> None:
    backend.on_stream = endless
    bounds = TimeBounds(first_part_ms=5_000, idle_ms=5_000, total_ms=100)

    with pytest.raises(DeadlineExceeded):
        async for _ in parts_of(inference, a_request(time_bounds=bounds)):
            pass

    await until(lambda: server.in_flight == 0)


async def test_a_call_that_is_not_answered_is_given_up(
    inference: Inference, backend: ScriptedBackend, server: InferenceServer
) -> None:
    async def silent(*_: object) -> bytes:
        await asyncio.sleep(9)
        return b"never"

    backend.on_infer = silent

    with pytest.raises(DeadlineExceeded):
        await inference.infer(a_request(time_bounds=TimeBounds(first_part_ms=60)))

    await until(lambda: server.in_flight == 0)


async def test_a_slow_reader_slows_the_model(
    inference: Inference, backend: ScriptedBackend
) -> None:
    async def fast(*_: object) -> AsyncGenerator[bytes, None]:
        for _number in range(200):
            yield bytes(MEGABYTE)

    backend.on_stream = fast
    async with aclosing(parts_of(inference, a_request())) as parts:
        await anext(parts)
        await asyncio.sleep(0.5)

    assert backend.sent < 60  # of 200: the transport's windows, and no more


async def test_many_calls_share_one_connection(inference: Inference) -> None:
    async def call(number: int) -> bytes:
        return (await inference.infer(a_request(payload=b"%d" % number, max_queue_ms=0))).payload

    answers = [await asyncio.gather(call(2 * n), call(2 * n + 1)) for n in range(20)]

    assert [int(each) for pair in answers for each in pair] == list(range(40))


@pytest.mark.parametrize("transport", ["lean", "grpcio"])
async def test_a_server_that_is_gone_is_unavailable_and_nothing_was_sent(
    transport: Transport,
) -> None:
    with short_dir() as folder:
        address = f"unix:{folder}/nobody.sock"
        client = RemoteInference(address, connect(address, transport=transport))

        with pytest.raises(Unavailable) as caught:
            await client.infer(a_request())

        assert not caught.value.sent
        await client.close()
