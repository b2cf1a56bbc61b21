"""Service bindings over real gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import orjson
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from libs.common.catalog import Timeouts
from libs.common.envelope import RequestSource
from libs.common.errors import DeadlineExceeded, OutOfCapacity, StreamLost
from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from libs.common.rpc import channel, request_error
from services.entry import limits
from tests.entry.fakes import (
    ACCOUNT,
    SECRET,
    TEXT,
    TEXT_MODEL,
    VECTORS,
    FakeServer,
    listening,
    says,
    small_world,
    vectors,
)
from tests.fakes import put

AUTH = (("authorization", f"Bearer {SECRET}"),)


@asynccontextmanager
async def calling(server: FakeServer, **rest: Any) -> AsyncIterator[Any]:
    """Yield a stub of an entry over the server."""
    config: Any = {"http": "", "grpc": "127.0.0.1:0"} | rest
    async with listening(server, **config) as bound, channel(bound.grpc) as connection:
        yield BindingServiceStub(connection)


def run_request(body: Any, model: str = TEXT, **rest: Any) -> pb.RunRequest:
    return pb.RunRequest(account=ACCOUNT, model=model, body=orjson.dumps(body), **rest)


async def test_run_answers_the_result() -> None:
    server = FakeServer(says("ho"))
    async with calling(server) as stub:
        request = run_request(
            {"prompt": "hi", "stream": True},
            options={"rejectIfBusy": "true"},
            request_id="mine",
            session="s",
        )
        answer = await stub.Run(request, metadata=AUTH, timeout=5)

    (sent,) = server.requests
    assert orjson.loads(answer.body)["response"] == "ho"
    assert answer.request_id == sent.request_id
    assert (sent.stream, sent.reject_if_busy, sent.session) == (False, True, "s")
    assert sent.client_request_id == "mine"
    assert sent.request_source is RequestSource.WORKER_BINDING
    assert 4_000 < sent.time_bounds.total_ms <= 5_100  # clocks of two libraries


async def test_run_stream_yields_the_results() -> None:
    async with calling(FakeServer(says("a"), says("b"))) as stub:
        stream = stub.RunStream(run_request({"prompt": "hi"}), metadata=AUTH)
        results = [orjson.loads(each.body) async for each in stream]

    assert [each["response"] for each in results] == ["a", "b", ""]
    assert results[-1]["usage"]["total_tokens"] == 5


async def test_run_stream_of_a_task_that_does_not_stream_is_one_part() -> None:
    async with calling(FakeServer(vectors([0.5]))) as stub:
        stream = stub.RunStream(run_request({"text": "a"}, VECTORS), metadata=AUTH)
        results = [orjson.loads(each.body) async for each in stream]

    assert [each["data"] for each in results] == [[[0.5]]]


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"metadata": ()}, grpc.StatusCode.UNAUTHENTICATED, 10000),
        ({"body": {"prompt": 1}}, grpc.StatusCode.INVALID_ARGUMENT, 5006),
        ({"body": {"prompt": "x" * 2000}}, grpc.StatusCode.RESOURCE_EXHAUSTED, 3006),
        ({"options": {"priority": "9" * 30}}, grpc.StatusCode.INVALID_ARGUMENT, 5006),
        ({"model": "no"}, grpc.StatusCode.INVALID_ARGUMENT, 5007),
        ({"parts": [OutOfCapacity("full")]}, grpc.StatusCode.RESOURCE_EXHAUSTED, 3040),
        ({"hangs": True, "timeout": 0.1}, grpc.StatusCode.DEADLINE_EXCEEDED, None),
    ],
    ids=["no token", "bad input", "too large", "30 digits", "unknown model", "full", "deadline"],
)
@pytest.mark.parametrize("rpc", ["Run", "RunStream"])
async def test_errors_have_their_status(
    rpc: str, how: dict[str, Any], status: grpc.StatusCode, code: int | None
) -> None:
    body, options = how.get("body", {"prompt": "hi"}), how.get("options", {})
    request = run_request(body, how.get("model", TEXT), options=options)
    parts = [asyncio.Event()] if "hangs" in how else how.get("parts", [])
    async with calling(FakeServer(*parts), max_body_bytes=1000) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            answer = getattr(stub, rpc)(
                request, metadata=how.get("metadata", AUTH), timeout=how.get("timeout", 5)
            )
            await (answer if rpc == "Run" else answer.read())

    assert failed.value.code() is status
    assert code is None or request_error(failed.value).code == code


async def test_a_stream_that_breaks_ends_with_its_status() -> None:
    async with calling(FakeServer(says("a"), StreamLost("broke")), continue_times=0) as stub:
        stream = stub.RunStream(run_request({"prompt": "hi"}), metadata=AUTH)
        assert await stream.read()

        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stream.read()

    assert type(request_error(failed.value)) is StreamLost


@pytest.mark.parametrize("rpc", ["Run", "RunStream"])
async def test_a_caller_that_cancels_stops_the_model(rpc: str) -> None:
    server = FakeServer(says("a"), asyncio.Event())
    async with calling(server) as stub, asyncio.timeout(5):
        call = getattr(stub, rpc)(run_request({"prompt": "hi"}), metadata=AUTH)
        await (server.reached.wait() if rpc == "Run" else call.read())
        call.cancel()

        await server.cancelled.wait()


async def test_a_reader_that_does_not_read_stops_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SLOW_READER_S", 0.1)
    world, server = small_world("ams"), FakeServer(*[says("a" * 1_000_000)] * 100)
    put(world, replace(TEXT_MODEL, timeouts=Timeouts(total_s=0.2)))
    async with calling(server, world=world) as stub, asyncio.timeout(5):
        stream = stub.RunStream(run_request({"prompt": "hi"}), metadata=AUTH)
        await stream.read()

        await server.cancelled.wait()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            while await stream.read():
                pass

    assert type(request_error(failed.value)) is DeadlineExceeded


async def test_models_are_those_of_the_account() -> None:
    async with calling(FakeServer()) as stub:
        every = await stub.Models(pb.ModelsRequest(account=ACCOUNT), metadata=AUTH)
        some = await stub.Models(
            pb.ModelsRequest(account=ACCOUNT, task="text-embeddings"), metadata=AUTH
        )

    assert [each.name for each in every.models] == [VECTORS, TEXT]
    assert [each.name for each in some.models] == [VECTORS]


async def test_the_ids_are_told_before_the_model_answers() -> None:
    async with calling(server := FakeServer(asyncio.Event())) as stub, asyncio.timeout(5):
        call = stub.RunStream(run_request({"prompt": "hi"}, request_id="mine"), metadata=AUTH)
        told = dict(await call.initial_metadata())
        call.cancel()

    assert told["x-request-id"] == "mine"
    assert told["x-constellation-request-id"] == server.requests[0].request_id


@pytest.mark.parametrize(
    "request_",
    [run_request({"prompt": "hi"}, request_id="mine"), run_request({}, request_id="mine")],
    ids=["refused by the server", "refused here"],
)
async def test_a_failed_call_has_the_ids_in_its_trailers_too(request_: Any) -> None:
    """A client may be told of a status and, because of a race in its gRPC, of nothing before it."""
    async with calling(FakeServer(OutOfCapacity("full"))) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Run(request_, metadata=AUTH)

    first, last = failed.value.initial_metadata(), dict(failed.value.trailing_metadata())
    assert last["x-request-id"] == "mine"
    assert last["x-constellation-request-id"] == dict(first)["x-constellation-request-id"]
    assert last["reason"]


@pytest.mark.parametrize(
    ("said", "source"),
    [
        (pb.SOURCE_UNSPECIFIED, RequestSource.WORKER_BINDING),
        (pb.SOURCE_WORKER_BINDING, RequestSource.WORKER_BINDING),
        (pb.SOURCE_PAGES_BINDING, RequestSource.PAGES_BINDING),
        (pb.SOURCE_REST, RequestSource.REST),
        (77, RequestSource.WORKER_BINDING),
    ],
)
async def test_the_source_is_what_the_caller_says(said: Any, source: RequestSource) -> None:
    async with calling(server := FakeServer(says("ho"))) as stub:
        await stub.Run(run_request({"prompt": "hi"}, source=said), metadata=AUTH)

    assert server.requests[0].request_source is source


@pytest.mark.parametrize(
    ("body", "error", "reason", "retry_s", "field"),
    [
        ({"prompt": 1}, None, "BAD_INPUT", None, "/prompt"),
        ({"prompt": "a"}, OutOfCapacity("full", retry_after_ms=2500), "OUT_OF_CAPACITY", 2.5, ""),
        ({"prompt": "a"}, OutOfCapacity("full", retry_after_ms=999_999), "OUT_OF_CAPACITY", 60, ""),
        ({"prompt": "a"}, StreamLost("gone"), "STREAM_LOST", 1, ""),
        (
            {"prompt": "ä" * 9000, "n\nä" * 3000: 1, "max_tokens": "ä" * 9000},
            None,
            "BAD_INPUT",
            None,
            "/max_tokens",
        ),
    ],
    ids=["a field", "a wait", "at most a minute", "at least a second", "long ones"],
)
async def test_errors_have_the_details_of_google_rpc(
    body: Any, error: Any, reason: str, retry_s: float | None, field: str
) -> None:
    async with calling(FakeServer(*[error] if error else [])) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Run(run_request(body), metadata=AUTH)

    trailers = dict(failed.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    found = {each.TypeName().rpartition(".")[2]: each for each in status.details}
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    assert status.code == failed.value.code().value[0]
    assert found["ErrorInfo"].Unpack(info)
    assert (info.reason, info.metadata["code"]) == (reason, trailers["code"])
    assert ("RetryInfo" in found) == (retry_s is not None)
    if retry_s is not None:
        found["RetryInfo"].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == int(trailers["retry-after-ms"])
        assert retry.retry_delay.ToMilliseconds() == retry_s * 1000
    if field:
        found["BadRequest"].Unpack(bad)
        assert bad.field_violations[0].field == field


async def test_reflection_names_the_services() -> None:
    config: Any = {"http": "", "grpc": "127.0.0.1:0"}
    async with listening(FakeServer(), **config) as bound, channel(bound.grpc) as connection:
        stub = reflection_pb2_grpc.ServerReflectionStub(connection)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="constellation.v1.BindingService"
            ),
        ]
        answers = [each async for each in stub.ServerReflectionInfo(iter(asked))]

    names = {each.name for each in answers[0].list_services_response.service}
    assert {"constellation.v1.BindingService", "grpc.health.v1.Health"} <= names
    assert answers[1].file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("service", ["", "constellation.v1.BindingService"])
async def test_health_is_answered(service: str) -> None:
    config: Any = {"http": "", "grpc": "127.0.0.1:0"}
    async with listening(FakeServer(), **config) as bound, channel(bound.grpc) as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
