"""The Python client against a real entry: what it sends, returns, raises and tries again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from constellation_client import (
    AI,
    AsyncAI,
    AuthenticationError,
    Binary,
    Busy,
    Cancelled,
    Conflict,
    ConstellationError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    PermissionDenied,
    Tls,
    Unavailable,
)
from constellation_client.asking import OPTION_NAMES, camel

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import RequestSource
from libs.common.errors import KeyReused, ModelFailed, NeuronsUsedUp, OutOfCapacity, StreamLost
from libs.common.errors import Unavailable as NobodyThere
from services.entry.options import SCHEMA
from tests.certificates import certified
from tests.clients.waits import Waits, calling
from tests.entry.fakes import (
    ACCOUNT,
    TEXT,
    VECTORS,
    FakeServer,
    place,
    response,
    says,
    small_world,
    vectors,
)
from tests.fakes import put

HI = {"prompt": "hi"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_run_returns_the_result(kind: Any) -> None:
    server = FakeServer(says("ho", "stop"))
    async with calling(kind, server) as ai:
        result = await ai.run(
            TEXT,
            HI,
            reject_if_busy=True,
            max_queue_ms=7,
            priority=3,
            background=True,
            cost=2,
            preferred_colo="ams",
            session_affinity="s",
            first_part_ms=900,
            idle_ms=800,
            request_id="mine",
            idempotency_key="k",
            traceparent=TRACE,
            timeout=3.0,
        )

    (sent,) = server.requests
    assert result["response"] == "ho"
    assert (sent.reject_if_busy, sent.max_queue_ms, sent.priority) == (True, 7, 3)
    assert (sent.background, sent.cost, sent.preferred_colo) == (True, 2, "ams")
    assert (sent.session, sent.client_request_id) == ("s", "mine")
    assert sent.traceparent == TRACE
    assert (sent.time_bounds.first_part_ms, sent.time_bounds.idle_ms) == (900, 800)
    assert 2_000 < sent.time_bounds.total_ms <= 3_100
    assert sent.request_source is RequestSource.WORKER_BINDING


def test_every_option_is_an_argument() -> None:
    assert {camel(each) for each in OPTION_NAMES} | {"sessionAffinity"} == set(
        SCHEMA["properties"]
    ) - {"queueRequest"}


PNG = b"\x89PNG\r\n\x1a\nimage"
IMAGES, LABELS = "@cf/demo/text-to-image", "@cf/demo/image-classification"


async def test_images_come_and_go_as_bytes(kind: Any) -> None:
    world = small_world("ams")
    put(
        world,
        Model(name=IMAGES, task="text-to-image"),
        Model(name=LABELS, task="image-classification"),
        *place(IMAGES, "ams"),
        *place(LABELS, "ams"),
    )
    server = FakeServer(response(wire.text("image", PNG)))
    async with calling(kind, server, entry={"world": world}) as ai:
        image = await ai.run(IMAGES, {"prompt": "a red circle"})
        (part,) = await ai.parts(IMAGES, {"prompt": "a red circle"})
        scores = wire.numbers("score", "FP32", np.array([0.5], dtype=np.float32))
        server.parts = [response(wire.text("label", "circle"), scores)]
        whole = await ai.run(LABELS, image, content_type=image.content_type)
        within = await ai.run(LABELS, {"image": image})

    assert (image, image.content_type, type(image)) == (PNG, "image/png", Binary)
    assert part == image
    assert whole == within == [{"label": "circle", "score": 0.5}]
    assert all(PNG in each.payload for each in server.requests[2:])


async def test_a_stream_is_iterated_part_by_part(kind: Any) -> None:
    async with calling(kind, FakeServer(says("a"), says("b"))) as ai:
        parts = await ai.parts(TEXT, HI)

    assert [each["response"] for each in parts] == ["a", "b", ""]
    assert parts[-1]["usage"]["total_tokens"] == 5


async def test_a_stream_tells_its_id_and_stops_the_model_when_it_is_left(kind: Any) -> None:
    server = FakeServer(says("a"), asyncio.Event())
    async with calling(kind, server) as ai, asyncio.timeout(5):
        stream = await ai.run(TEXT, HI, stream=True)
        assert stream.request_id == server.requests[0].request_id
        if kind is AI:
            with stream:
                assert next(stream)["response"] == "a"
        else:
            async with stream:
                assert (await anext(stream))["response"] == "a"

        await server.cancelled.wait()


async def test_a_stream_that_breaks_raises_where_it_broke(kind: Any) -> None:
    server = FakeServer(says("a"), StreamLost("broke"))
    async with calling(kind, server, entry={"continue_times": 0}) as ai:
        stream = await ai.run(TEXT, HI, stream=True)

        async def read() -> None:
            if kind is AI:
                await asyncio.to_thread(list, stream)
            else:
                async for _ in stream:
                    pass

        with pytest.raises(Unavailable) as failed:
            await read()

    assert (failed.value.reason, failed.value.request_id) == ("stream_lost", stream.request_id)


async def test_a_task_that_does_not_stream_is_one_part(kind: Any) -> None:
    async with calling(kind, FakeServer(vectors([0.5]))) as ai:
        assert [each["data"] for each in await ai.parts(VECTORS, {"text": "a"})] == [[[0.5]]]


async def test_models_are_listed(kind: Any) -> None:
    async with calling(kind, FakeServer(), account=ACCOUNT) as ai:
        every = await ai("models")
        some = await ai("models", "text-embeddings")

    assert [each.name for each in every] == [VECTORS, TEXT]
    assert [(each.name, each.task) for each in some] == [(VECTORS, "text-embeddings")]


async def test_a_request_is_cancelled_by_its_id(kind: Any) -> None:
    server = FakeServer()
    server.running = {(ACCOUNT, "mine")}
    async with calling(kind, server) as ai:
        assert await ai("cancel", "mine") == ["mine"]
        assert await ai("cancel", "other") == []
        with pytest.raises(InvalidRequest):
            await ai("cancel", "not an id")


@pytest.mark.parametrize(
    ("how", "error", "code", "reason", "pointer"),
    [
        ({"token": "no"}, AuthenticationError, 10000, "unauthenticated", ""),
        ({"token": ""}, AuthenticationError, 10000, "unauthenticated", ""),
        ({"account": "f" * 32}, PermissionDenied, 10001, "wrong_account", ""),
        ({"body": {"prompt": 1}}, InvalidRequest, 5006, "bad_input", "/prompt"),
        ({"body": {"prompt": "x" * 2000}}, InvalidRequest, 3006, "too_large", ""),
        ({"model": "no"}, InvalidRequest, 5007, "unknown_model", ""),
        ({"cost": 0}, InvalidRequest, 5006, "bad_input", "/options/cost"),
        ({"parts": [OutOfCapacity("x")], "retries": 0}, Busy, 3040, "out_of_capacity", ""),
        ({"parts": [ModelFailed("x")]}, InternalError, 3044, "model_failed", ""),
        ({"parts": [KeyReused("x")]}, Conflict, 7004, "idempotency_key_reused", ""),
        ({"parts": [ValueError("x")]}, InternalError, 3046, "internal", ""),
        (
            {"parts": [NobodyThere("x", sent=True)], "sent": True},
            Unavailable,
            3043,
            "unavailable",
            "",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_typed(
    kind: Any,
    how: dict[str, Any],
    error: type[ConstellationError],
    code: int,
    reason: str,
    pointer: str,
    stream: bool,
) -> None:
    rest = {name: how[name] for name in ("token", "account", "retries") if name in how}
    options = {"cost": how["cost"]} if "cost" in how else {}
    server = FakeServer(*how.get("parts", ()))
    async with calling(kind, server, entry={"max_body_bytes": 1000}, **rest) as ai:
        with pytest.raises(error) as failed:
            await ai.run(how.get("model", TEXT), how.get("body", HI), stream=stream, **options)

    told = failed.value
    assert (told.code, told.reason, told.pointer) == (code, reason, pointer)
    assert type(told) is error
    assert told.retry_after == (1.0 if error in (Busy, Unavailable) else None)
    assert reason in str(told)
    assert told.was_sent == (error is InternalError or "sent" in how)
    assert len(told.request_id) == 26


async def test_a_timeout_is_a_deadline(kind: Any) -> None:
    async with calling(kind, FakeServer(asyncio.Event()), timeout=0.2) as ai:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as failed:
            await ai.run(TEXT, HI)
        assert (failed.value.code, failed.value.reason) == (3007, "deadline_exceeded")
        assert failed.value.was_sent
        assert time.monotonic() - began < 2
        with pytest.raises(DeadlineExceeded):
            await ai.run(TEXT, HI, timeout=5, first_part_ms=50)


async def test_what_was_not_run_is_tried_again_after_the_time_that_was_told(kind: Any) -> None:
    server = FakeServer(OutOfCapacity("full"))
    async with calling(kind, server, timeout=8.0) as ai:
        call = asyncio.create_task(ai.run(TEXT, HI))
        await server.reached.wait()
        began = time.monotonic()
        server.parts = [says("ho")]

        assert (await call)["response"] == "ho"

    assert len(server.requests) >= 2
    assert 0.8 < time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("error", "options", "tries"),
    [
        (NobodyThere("lost", sent=True), {}, 1),
        (ModelFailed("bad"), {}, 1),
        (OutOfCapacity("full"), {"reject_if_busy": True}, 1),
        (OutOfCapacity("full"), {"timeout": 0.5}, 1),
        (NeuronsUsedUp("no more today", retry_after_ms=60_000), {}, 1),
        (NobodyThere("lost", sent=True), {"idempotency_key": "k"}, 2),
    ],
    ids=[
        "it may have run",
        "it has run",
        "it was not to wait",
        "no time is left",
        "not today",
        "its key",
    ],
)
async def test_it_is_tried_again_only_where_the_model_does_not_run_twice(
    kind: Any, error: Exception, options: dict[str, Any], tries: int
) -> None:
    server = FakeServer(error)
    async with calling(kind, server, retries=1) as ai:
        with pytest.raises(ConstellationError):
            await ai.run(TEXT, HI, **options)

    assert len(server.requests) == tries


async def test_an_address_where_nobody_listens_is_unavailable_and_was_not_sent(kind: Any) -> None:
    ai = Waits(kind("127.0.0.1:1", token="x", timeout=3.0, retries=1))

    with pytest.raises(Unavailable) as failed:
        await ai.run(TEXT, HI)
    await ai("close")

    assert not failed.value.was_sent
    assert failed.value.code == 0


async def test_closing_ends_what_runs(kind: Any) -> None:
    server = FakeServer(asyncio.Event())
    async with calling(kind, server) as ai:
        call = asyncio.create_task(ai.run(TEXT, HI))
        await server.reached.wait()
        await ai("close")

        with pytest.raises((Cancelled, asyncio.CancelledError)):
            await call


async def test_cancelling_the_task_stops_the_model() -> None:
    server = FakeServer(asyncio.Event())
    async with calling(AsyncAI, server) as ai, asyncio.timeout(5):
        call = asyncio.create_task(ai.run(TEXT, HI))
        await server.reached.wait()
        call.cancel()

        await server.cancelled.wait()


async def test_threads_may_share_one_client() -> None:
    server = FakeServer(says("ho"))
    async with calling(AI, server) as ai:
        found = await asyncio.gather(*[ai.run(TEXT, HI) for _ in range(20)])

    assert [each["response"] for each in found] == ["ho"] * 20


async def test_over_tls_the_client_trusts_whom_it_is_told_to(kind: Any, tmp_path: Path) -> None:
    files = certified(tmp_path)
    entry = {"tls_cert": files.cert, "tls_key": files.key}
    async with calling(kind, FakeServer(says("ho")), entry=entry, tls=Tls(ca=files.ca)) as ai:
        assert (await ai.run(TEXT, HI))["response"] == "ho"
    async with calling(kind, FakeServer(says("ho")), entry=entry, tls=True, retries=0) as ai:
        with pytest.raises(Unavailable):
            await ai.run(TEXT, HI)
