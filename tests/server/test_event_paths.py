"""Events on every path: each field of each event, against what a path is worked out to give.

The clock is turned by hand, so that times are exact; what differs from the usual call stands
with its path, all else must be as usual.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from libs.common.envelope import InferRequest
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.events.values import Flag, InferenceEvent
from libs.common.world_map import Instance
from libs.eager import turns_of
from services.server.endpoints import Endpoint
from services.server.errors import InstanceLost
from tests.fakes import MODEL, an_instance, put
from tests.server.event_rig import (
    ANSWER,
    NOWHERE,
    PARTS,
    START_MS,
    STREAM_BYTES,
    STREAMED,
    UNUSED,
    USUAL,
    Rig,
)
from tests.waiting import until

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
    turns_of(asyncio.get_running_loop()).settle()
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
