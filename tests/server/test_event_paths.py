"""Events on every path: each field of each event, against what a path is worked out to give.

The clock is turned by hand, so that times are exact; what differs from the usual call stands
with its path, all else must be as usual.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from libs.common import wire
from libs.common.catalog import Backend, Listing, Model, Permits, Price, Scaling, UsageTensors
from libs.common.clients.inference import RemoteInference
from libs.common.clock import ManualClock
from libs.common.envelope import InferRequest, RequestSource, Units
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag, InferenceEvent
from libs.common.hops import connect, listening
from libs.common.ports import Inference
from libs.common.world_map import Colo, Instance, Server, Shard, ShardLoad
from services.server.endpoints import Endpoint
from services.server.errors import InstanceLost
from services.server.forwarding import Settings
from services.server.grpc_api import InferenceApi
from services.server.service import InferenceServer
from tests.fakes import MODEL, ScriptedBackend, a_request, a_server, a_world, an_instance, put
from tests.hot_path import an_answer
from tests.waiting import until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PRICE = Price(per_request=1.0, per_token_in=0.25, per_token_out=0.5, per_character_in=0.125)
START = 2.0**30  # later than the loop's time, so that only this clock makes anything late
START_MS = 2**30 * 1000
ECHO = Model(
    name=MODEL,
    task="text-generation",
    backend=Backend(
        repository="models/echo",
        dialect="vllm",
        usage=UsageTensors(tokens_in="num_input_tokens", tokens_out="num_output_tokens"),
    ),
    permits=Permits(per_instance=1, queue=1),
    price=PRICE,
    scaling=Scaling(boot_s=1.0),
    listing=Listing(beta=True),
)


def said(text: str, *, tokens: int) -> bytes:
    return an_answer(
        wire.text("text_output", text),
        wire.numbers("num_input_tokens", "UINT32", np.array([7])),
        wire.numbers("num_output_tokens", "UINT32", np.array([tokens])),
    ).SerializeToString()


ANSWER = said("hello", tokens=3)
PARTS = (said("a", tokens=1), said("b", tokens=1))
STREAM_BYTES = len(PARTS[0]) + len(PARTS[1])

USUAL = InferenceEvent(
    account_id="a" * 32,
    model_id=MODEL,
    task="text-generation",
    request_source=2,
    request_id="r" * 26,
    client_request_id="mine",
    traceparent=TRACE,
    timestamp_ms=START_MS,
    request_time_ms=250.0,
    inference_time_ms=250.0,
    forward_us=250_000,
    first_part_us=250_000,
    neurons=1 + 0.25 * 7 + 0.5 * 3 + 0.125 * 40,
    tokens_in=7,
    tokens_out=3,
    input_characters=40,
    bytes_in=123,
    bytes_out=len(ANSWER),
    http_status=200,
    flags=Flag.BETA_MODEL,
    colo_id="ams",
    source_colo_id="ams",
    model_container_id="ams-node/echo/0",
    endpoint="127.0.0.1:9000",
    chosen_because="only",
    cost=1,
    priority=6,
    shard_epoch=1,  # of the ownership, whatever the call had heard of it
)
STREAMED = replace(
    USUAL,
    flags=Flag.BETA_MODEL | Flag.STREAMED,
    request_time_ms=375.0,  # a quarter of a second to the first part, an eighth to the second
    inference_time_ms=375.0,
    time_to_first_token=250.0,
    forward_us=375_000,
    neurons=1 + 0.25 * 7 + 0.5 * 2 + 0.125 * 40,
    tokens_out=2,
    bytes_out=STREAM_BYTES,
)
# What a call has used that failed, or ended before its model said so: nothing.
UNUSED: dict[str, Any] = {
    "neurons": 0.0,
    "tokens_in": 0,
    "tokens_out": 0,
    "input_characters": 0,
    "bytes_out": 0,
    "first_part_us": 0,
}
# And one that had no endpoint.
NOWHERE: dict[str, Any] = UNUSED | {
    "inference_time_ms": 0.0,
    "forward_us": 0,
    "model_container_id": "",
    "endpoint": "",
    "chosen_because": "",
}


def asked(**changes: object) -> InferRequest:
    usual: dict[str, object] = {
        "request_id": "r" * 26,
        "task": "text-generation",
        "client_request_id": "mine",
        "request_source": RequestSource.PAGES_BINDING,
        "traceparent": TRACE,
        "units": Units(input_characters=40),
        "bytes_in": 123,
        "priority": 6,
    }
    return a_request(**usual | changes)


class Rig:
    """A server whose model answers in a quarter of a second, and another in London."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.backend, self.sink = ScriptedBackend(), MemorySink()
        self.backend.on_infer, self.backend.on_stream = self.answers, self.streams
        self.gate = asyncio.Event()  # what a model that is held waits for
        self.world = a_world(an_instance(0), model=ECHO)
        self.elsewhere: dict[str, Inference] = {}
        self.server = self.a_server("ams", self.backend, self.sink)

    def a_server(
        self, colo: str, backend: ScriptedBackend, sink: MemorySink, max_hops: int = 1
    ) -> InferenceServer:
        return a_server(
            self.world,
            backend,
            sink,
            self.clock,
            name=f"{colo}-server",
            colo=colo,
            connections=lambda address: self.elsewhere[address],
            forwarding=Settings(max_hops=max_hops),
        )

    async def answers(self, *_: object) -> bytes:
        self.clock.advance(0.25)
        return ANSWER

    async def streams(self, *_: object) -> AsyncGenerator[bytes, None]:
        self.clock.advance(0.25)
        yield PARTS[0]
        self.clock.advance(0.125)
        yield PARTS[1]

    async def waits(self, *_: object) -> bytes:
        await self.gate.wait()
        return ANSWER

    async def streams_and_waits(self, *_: object) -> AsyncGenerator[bytes, None]:
        self.clock.advance(0.25)
        yield PARTS[0]
        await self.gate.wait()

    def fails(self, error: Exception) -> Callable[..., Awaitable[bytes]]:
        async def fail(*_: object) -> bytes:
            self.clock.advance(0.25)
            raise error

        return fail

    def infer(self, **changes: object) -> asyncio.Task[Any]:
        return asyncio.create_task(self.server.infer(asked(**changes)))

    def stream(self, **changes: object) -> asyncio.Task[Any]:
        return asyncio.create_task(
            self.server.stream(asked(stream=True, **changes), lambda parts: None)
        )

    async def held(self) -> asyncio.Task[Any]:
        """Take the only permit, without an event of its own that counts, and no time."""
        self.backend.on_infer = self.waits
        call = self.infer(request_id="h" * 26)
        await until(lambda: len(self.backend.calls) == 1)
        return call

    async def release(self, held: asyncio.Task[Any]) -> None:
        self.gate.set()
        await held

    @property
    def events(self) -> list[InferenceEvent]:
        """All but those of calls that only held permits."""
        events = [each for each in self.sink.events if isinstance(each, InferenceEvent)]
        return [each for each in events if each.request_id != "h" * 26]

    @asynccontextmanager
    async def london(self, folder: Path) -> AsyncIterator[MemorySink]:
        """A second server of the model, reached over a Unix socket."""
        backend, sink = ScriptedBackend(), MemorySink()
        backend.on_infer, backend.on_stream = self.answers, self.streams
        put(
            self.world,
            Colo(name="ams"),
            Colo(name="lhr"),
            Server(name="ams-server", colo="ams", address="local:ams", boot_epoch=1),
            Server(name="lhr-server", colo="lhr", address="unix:lhr", boot_epoch=1),
            Shard(model=MODEL, colo="lhr", index=0, owner="lhr-server", epoch=9),
            Instance(id="lhr-i", model=MODEL, colo="lhr", address="lhr:1", state="ready"),
            *(
                ShardLoad(model=MODEL, colo=colo, index=0, server="", permits=1, free=free)
                for colo, free in (("ams", 0), ("lhr", 1))
            ),
        )
        async with AsyncExitStack() as stack:
            api = InferenceApi(self.a_server("lhr", backend, sink), over_unix_socket=True)
            address = f"unix:{folder}/lhr"
            await stack.enter_async_context(listening(address, api.handlers(), drain_s=0.1))
            client = RemoteInference(address, connect(address))
            stack.push_async_callback(client.close)
            self.elsewhere["unix:lhr"] = client
            yield sink


Path_ = Callable[[Rig, Path], Awaitable[list[InferenceEvent]]]
PATHS: dict[str, Path_] = {}


def path(run: Path_) -> Path_:
    """Enter a path into the table, under its name in words."""
    PATHS[run.__name__.replace("_", " ")] = run
    return run


@path
async def a_unary_call(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.infer()
    return [USUAL]


@path
async def a_stream(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.stream()
    return [STREAMED]


@path
async def a_stream_that_goes_on(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.stream(attempt=1, continued_from=5)
    rest = {"neurons": 0.5 * 2, "tokens_in": 0, "input_characters": 0}  # the input was paid for
    return [replace(STREAMED, attempt=1, continued_from=5, **rest)]


@path
async def a_call_with_a_finetune(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.infer(finetune="f-1", adapter="f-1")
    return [replace(USUAL, finetune="f-1", adapter="f-1")]


@path
async def a_fallback_to_this_model(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.infer(attempt=2)
    return [replace(USUAL, attempt=2)]


@path
async def background_work_of_more_than_one_permit(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.infer(background=True, cost=3)
    flags = Flag.BETA_MODEL | Flag.BACKGROUND
    return [replace(USUAL, flags=flags, cost=3)]


@path
async def an_endpoint_that_others_run(rig: Rig, _: Path) -> list[InferenceEvent]:
    far = Instance(id="far", model=MODEL, colo="ams", address="far:1", state="ready", external=True)
    put(rig.world, an_instance(0, state="booting"), far)
    await rig.infer()
    flags = Flag.BETA_MODEL | Flag.EXTERNAL_ENDPOINT
    where = {"model_container_id": "far", "endpoint": "far:1"}
    return [replace(USUAL, flags=flags, **where)]


@path
async def a_call_that_waited(rig: Rig, _: Path) -> list[InferenceEvent]:
    held = await rig.held()
    waiting = rig.infer()
    await until(lambda: rig.server.in_flight == 2)
    third = rig.infer(request_id="3" * 26, account="b" * 32, reject_if_busy=True)
    with suppress(RequestError):
        await third
    rig.clock.advance(0.5)
    rig.backend.on_infer = rig.answers
    await rig.release(held)
    await waiting
    waited = {"queue_us": 500_000, "permit_wait_us": 500_000, "queuing_time_ms": 500.0}
    return [
        replace(
            USUAL,
            **NOWHERE | {"request_time_ms": 0.0},
            request_id="3" * 26,
            account_id="b" * 32,
            error_code=3040,
            http_status=429,
            local_queue_size=1,  # who waited as it came
        ),
        replace(
            USUAL,
            request_time_ms=750.0,
            flags=Flag.BETA_MODEL | Flag.QUEUED_IN_COLO,
            **waited,
        ),
    ]


@path
async def a_call_for_which_the_queue_is_full(rig: Rig, _: Path) -> list[InferenceEvent]:
    held = await rig.held()
    waiting = rig.infer(request_id="h" * 26)
    await until(lambda: rig.server.in_flight == 2)
    with suppress(RequestError):
        await rig.infer()
    await rig.release(held)
    await waiting
    refused = NOWHERE | {"request_time_ms": 0.0, "local_queue_size": 1}
    return [replace(USUAL, **refused, error_code=3040, http_status=429)]


@path
async def a_call_that_may_not_go_where_there_is_room(
    rig: Rig, folder: Path
) -> list[InferenceEvent]:
    rig.server = rig.a_server("ams", rig.backend, rig.sink, max_hops=0)
    held = await rig.held()
    async with rig.london(folder):
        with suppress(RequestError):
            await rig.infer(reject_if_busy=True)
    await rig.release(held)
    refused = NOWHERE | {"request_time_ms": 0.0}
    return [replace(USUAL, **refused, error_code=3052, http_status=429)]


@path
async def a_call_whose_time_in_the_queue_is_up(rig: Rig, _: Path) -> list[InferenceEvent]:
    held = await rig.held()
    waiting = rig.infer(max_queue_ms=250)
    await until(lambda: rig.server.in_flight == 2)
    rig.clock.advance(0.25)
    with suppress(RequestError):
        await waiting
    await rig.release(held)
    waited = {"queue_us": 250_000, "permit_wait_us": 250_000, "queuing_time_ms": 250.0}
    flags = Flag.BETA_MODEL | Flag.QUEUED_IN_COLO
    return [replace(USUAL, **NOWHERE, **waited, flags=flags, error_code=3053, http_status=429)]


@path
async def a_call_for_a_model_that_starts(rig: Rig, _: Path) -> list[InferenceEvent]:
    put(rig.world, an_instance(0, state="booting"))
    with suppress(RequestError):
        await rig.infer(falls_back=True)
    refused = NOWHERE | {"request_time_ms": 0.0}
    return [replace(USUAL, **refused, error_code=3054, http_status=429)]


@path
async def a_forwarded_call(rig: Rig, folder: Path) -> list[InferenceEvent]:
    held = await rig.held()
    async with rig.london(folder) as sink:
        await rig.infer()
    await rig.release(held)
    assert sink.events == [
        replace(
            USUAL,
            flags=Flag.BETA_MODEL | Flag.FORWARDED | Flag.UNIX_SOCKET,
            colo_id="lhr",
            visited_colos=("ams",),
            hops=1,
            model_container_id="lhr-i",
            endpoint="lhr:1",
            shard_epoch=9,
        )
    ]
    return []


@path
async def a_client_that_leaves_a_stream(rig: Rig, _: Path) -> list[InferenceEvent]:
    rig.backend.on_stream = rig.streams_and_waits
    call = rig.stream()
    await until(lambda: rig.backend.sent == 1)
    rig.clock.advance(0.125)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    return [
        replace(
            STREAMED,
            flags=Flag.BETA_MODEL | Flag.STREAMED | Flag.CANCELLED,
            error_code=3008,
            http_status=408,
            neurons=1 + 0.25 * 7 + 0.5 * 1 + 0.125 * 40,  # what it had until then
            tokens_out=1,
            bytes_out=len(PARTS[0]),
        )
    ]


@path
async def a_call_that_is_cancelled_by_its_id(rig: Rig, _: Path) -> list[InferenceEvent]:
    call = await rig.held()
    waiting = rig.infer()
    await until(lambda: rig.server.in_flight == 2)
    rig.clock.advance(0.25)
    assert await rig.server.cancel(account="a" * 32, request_id="r" * 26) == ["r" * 26]
    with suppress(RequestError):
        await waiting
    await rig.release(call)
    waited = {"queue_us": 250_000, "permit_wait_us": 250_000, "queuing_time_ms": 250.0}
    flags = Flag.BETA_MODEL | Flag.QUEUED_IN_COLO | Flag.CANCELLED
    return [replace(USUAL, **NOWHERE, **waited, flags=flags, error_code=3008, http_status=408)]


@path
async def a_model_that_fails(rig: Rig, _: Path) -> list[InferenceEvent]:
    rig.backend.on_infer = rig.fails(ModelFailed("broken", sent=True))
    with suppress(RequestError):
        await rig.infer()
    return [replace(USUAL, **UNUSED, error_code=ModelFailed.code, http_status=ModelFailed.http)]


@path
async def a_model_that_is_too_slow(rig: Rig, _: Path) -> list[InferenceEvent]:
    rig.backend.on_infer = rig.fails(DeadlineExceeded("slow", sent=True))
    with suppress(RequestError):
        await rig.infer()
    return [replace(USUAL, **UNUSED, error_code=DeadlineExceeded.code, http_status=408)]


@path
async def an_endpoint_that_dies_under_the_call(rig: Rig, _: Path) -> list[InferenceEvent]:
    rig.backend.on_infer = rig.fails(InstanceLost("gone", sent=True))
    with suppress(RequestError):
        await rig.infer()
    return [replace(USUAL, **UNUSED, error_code=3043, http_status=503)]


@path
async def a_stream_whose_endpoint_dies(rig: Rig, _: Path) -> list[InferenceEvent]:
    async def breaks(*_: object) -> AsyncGenerator[bytes, None]:
        async for part in rig.streams():
            yield part
        raise InstanceLost("gone", sent=True)

    rig.backend.on_stream = breaks
    with suppress(StreamLost):
        await rig.stream()
    return [replace(STREAMED, error_code=3045, http_status=503)]


@path
async def a_call_that_was_tried_twice(rig: Rig, _: Path) -> list[InferenceEvent]:
    put(rig.world, an_instance(1))

    async def refuses_once(endpoint: Endpoint, request: InferRequest) -> bytes:
        if len(rig.backend.calls) == 1:
            rig.clock.advance(0.5)
            raise Unavailable("nobody there")
        return await rig.answers()

    rig.backend.on_infer = refuses_once
    await rig.infer()
    instance = rig.backend.calls[1][0]
    return [
        replace(
            USUAL,
            request_time_ms=750.0,
            queue_us=500_000,  # to the permit that led to an answer; none of it in the turnstile
            model_container_id=instance,
            endpoint=f"127.0.0.1:900{instance[-1]}",
            chosen_because="only",
        )
    ]


REPLAYED = replace(
    USUAL,
    **NOWHERE
    | {
        "request_id": "2" * 26,
        "timestamp_ms": START_MS + 250,
        "request_time_ms": 0.0,
        "bytes_out": len(ANSWER),
        "endpoint": "127.0.0.1:9000",  # where the answer was made
        "chosen_because": "kept",
        "flags": Flag.BETA_MODEL | Flag.IDEMPOTENCY_REPLAY,
    },
)


@path
async def a_replay_of_a_kept_answer(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.infer(idempotency_key="k")
    await rig.infer(idempotency_key="k", request_id="2" * 26)
    return [USUAL, REPLAYED]


@path
async def a_replay_of_a_stream_that_still_comes(rig: Rig, _: Path) -> list[InferenceEvent]:
    async def streams_in_two(*_: object) -> AsyncGenerator[bytes, None]:
        await rig.gate.wait()
        async for part in rig.streams():
            yield part

    rig.backend.on_stream = streams_in_two
    first = rig.stream(idempotency_key="k")
    await until(lambda: rig.backend.calls)
    second = rig.stream(idempotency_key="k", request_id="2" * 26)
    await asyncio.sleep(0)
    rig.gate.set()
    await asyncio.gather(first, second)
    follower = replace(
        REPLAYED,
        timestamp_ms=START_MS,
        request_time_ms=375.0,
        time_to_first_token=second_first_part(rig),
        bytes_out=STREAM_BYTES,
        flags=Flag.BETA_MODEL | Flag.STREAMED | Flag.IDEMPOTENCY_REPLAY,
    )
    return [STREAMED, follower]


def second_first_part(rig: Rig) -> float:
    """The follower hears of both parts in the tick after they came, or of the first alone."""
    follower = rig.events[-1]
    assert follower.time_to_first_token in (250.0, 375.0)
    return follower.time_to_first_token


@path
async def a_key_that_was_used_for_another_request(rig: Rig, _: Path) -> list[InferenceEvent]:
    await rig.infer(idempotency_key="k")
    with suppress(RequestError):
        await rig.infer(idempotency_key="k", request_id="2" * 26, payload=b"other")
    none = {"bytes_out": 0, "endpoint": "", "chosen_because": "", "flags": Flag.BETA_MODEL}
    return [USUAL, replace(REPLAYED, **none, error_code=7004, http_status=409)]


@path
async def a_follower_that_is_cancelled(rig: Rig, _: Path) -> list[InferenceEvent]:
    rig.backend.on_infer = rig.waits
    first = rig.infer(idempotency_key="k", request_id="h" * 26)
    await until(lambda: rig.backend.calls)
    second = rig.infer(idempotency_key="k", request_id="2" * 26)
    await asyncio.sleep(0)
    rig.clock.advance(0.25)
    await rig.server.cancel(account="a" * 32, request_id="2" * 26)
    with suppress(RequestError):
        await second
    await rig.release(first)
    none = {"bytes_out": 0, "endpoint": "", "chosen_because": "", "request_time_ms": 250.0}
    flags = Flag.BETA_MODEL | Flag.CANCELLED
    began = {"timestamp_ms": START_MS, "flags": flags}
    return [replace(REPLAYED, **none, **began, error_code=3008, http_status=408)]


@pytest.mark.parametrize("name", PATHS)
async def test_each_field_is_true_on(name: str, tmp_path: Path) -> None:
    rig = Rig()

    expected = await PATHS[name](rig, tmp_path)

    assert rig.events == expected
