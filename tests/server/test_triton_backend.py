"""The way to Triton: what a message has, and how long a channel stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from libs.common import wire
from libs.common.catalog import Backend as BackendConfig
from libs.common.catalog import Probe, ProbeInput
from libs.common.errors import Unavailable
from libs.common.hops import connect
from libs.common.pb import kserve_pb2 as kserve
from libs.common.world import World
from libs.lean import Method, RpcError, Status
from services.server.backends.triton import TritonBackend
from services.server.endpoints import Endpoint
from services.server.errors import InstanceDead, InstanceLost
from services.server.ports import Depth
from services.server.service import InferenceServer
from tests.contract.models_behind import PARTS, TritonStage
from tests.fakes import a_model, a_request, an_instance, put

PAYLOAD = kserve.ModelInferRequest(raw_input_contents=[b"raw"]).SerializeToString()


class FakeChannel:
    """Keeps what was sent, and answers at once."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent: list[bytes] = []
        self.closed = False

    async def unary(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> bytes:
        self.sent.append(b"".join(message))
        return b"answer"

    def stream(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> Any:
        raise AssertionError("nothing here streams")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened() -> list[FakeChannel]:
    return []


@pytest.fixture
async def triton(opened: list[FakeChannel]) -> AsyncIterator[TritonBackend]:
    def connect(address: str) -> FakeChannel:
        opened.append(FakeChannel(address))
        return opened[-1]

    backend = TritonBackend(connect, close_after_s=0.01)
    yield backend
    await backend.close()


def endpoint(address: str = "a:1") -> Endpoint:
    return Endpoint(instance="i", address=address, concurrency=1)


async def test_the_models_name_and_an_id_are_added(
    triton: TritonBackend, opened: list[FakeChannel]
) -> None:
    for served_as in ("one", "two"):  # the catalog may say another name at any time
        model = a_model(backend=BackendConfig(served_as=served_as))
        await triton.infer(endpoint(), model, a_request(payload=PAYLOAD), timeout_s=1)

    assert [kserve.ModelInferRequest.FromString(each) for each in opened[0].sent] == [
        kserve.ModelInferRequest(model_name=name, id="0" * 26, raw_input_contents=[b"raw"])
        for name in ("one", "two")
    ]


async def test_a_channel_serves_all_calls_to_its_address(
    triton: TritonBackend, opened: list[FakeChannel]
) -> None:
    for address in ("a:1", "a:1", "b:1"):
        await triton.infer(endpoint(address), a_model(), a_request(), timeout_s=1)

    assert [each.address for each in opened] == ["a:1", "b:1"]


async def test_a_channel_to_an_address_that_no_endpoint_has_any_more_is_closed_after_a_while(
    triton: TritonBackend, opened: list[FakeChannel]
) -> None:
    for address in ("a:1", "b:1"):
        await triton.infer(endpoint(address), a_model(), a_request(), timeout_s=1)

    triton.keep({"a:1", "c:1"})
    assert not opened[1].closed
    await asyncio.sleep(0.03)

    assert [each.closed for each in opened] == [False, True]
    assert repr(triton) == "<TritonBackend a:1>"


async def test_a_channel_whose_endpoint_comes_back_in_time_stays_open(
    triton: TritonBackend, opened: list[FakeChannel]
) -> None:
    await triton.infer(endpoint(), a_model(), a_request(), timeout_s=1)

    triton.keep(set())
    triton.keep({"a:1"})
    await asyncio.sleep(0.03)

    assert not opened[0].closed


async def test_closing_closes_those_that_are_about_to_be_closed_too(
    triton: TritonBackend, opened: list[FakeChannel]
) -> None:
    for address in ("a:1", "b:1"):
        await triton.infer(endpoint(address), a_model(), a_request(), timeout_s=1)
    triton.keep({"a:1"})

    await triton.close()

    assert [each.closed for each in opened] == [True, True]


def test_a_server_knows_the_addresses_of_its_endpoints(
    world: World, server: InferenceServer
) -> None:
    assert server.shards.addresses() == {"127.0.0.1:9000"}

    put(world, an_instance(0, state="booting"), an_instance(1))

    assert server.shards.addresses() == {"127.0.0.1:9001"}


PROBED = BackendConfig(probe=Probe(inputs=(ProbeInput(name="text", values=("Hi",)),)))


class AnsweringChannel(FakeChannel):
    """Answers each method as it is told, or fails."""

    def __init__(self, address: str, answers: dict[str, bytes | RpcError]) -> None:
        super().__init__(address)
        self.answers = answers
        self.asked: list[str] = []

    async def unary(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> bytes:
        self.sent.append(b"".join(message))
        self.asked.append(method.path.rpartition("/")[2])
        answer = self.answers[self.asked[-1]]
        if isinstance(answer, RpcError):
            raise answer
        return answer


LOST = RpcError(Status.UNAVAILABLE, "connection refused", sent=False)
LATE = RpcError(Status.DEADLINE_EXCEEDED, "no answer")
REFUSED = RpcError(Status.INVALID_ARGUMENT, "unexpected inference input 'text'")
FULL = RpcError(Status.UNAVAILABLE, "Exceeds maximum queue size")
DEAD = RpcError(Status.INTERNAL, "Stub process 'm_0_0' is not healthy.")
READY = kserve.ModelReadyResponse(ready=True).SerializeToString()
NOT_READY = kserve.ServerReadyResponse(ready=False).SerializeToString()


@pytest.mark.parametrize(
    ("depth", "answer", "expected"),
    [
        ("server", READY, True),
        ("server", NOT_READY, True),
        ("server", LOST, False),
        ("server", LATE, False),
        ("model", READY, True),
        ("model", NOT_READY, False),
        ("model", LOST, False),
        ("inference", b"an answer", True),
        ("inference", DEAD, False),
        ("inference", LATE, False),
        ("inference", LOST, False),
        ("inference", REFUSED, None),
        ("inference", FULL, None),
    ],
)
async def test_what_a_probe_shows(
    depth: Depth, answer: bytes | RpcError, expected: bool | None
) -> None:
    methods = {"server": "ServerReady", "model": "ModelReady", "inference": "ModelInfer"}
    channel = AnsweringChannel("a:1", {methods[depth]: answer})
    triton = TritonBackend(lambda _: channel)

    found = await triton.probe(endpoint(), a_model(backend=PROBED), depth, timeout_s=1)

    assert found is expected
    assert channel.asked == [methods[depth]]


async def test_bytes_that_no_triton_sends_are_a_no(triton: TritonBackend) -> None:
    model = a_model()  # its fake channel answers with words

    assert await triton.probe(endpoint(), model, "model", timeout_s=1) is False
    assert "no Triton" in (await triton.flaw(endpoint(), model) or "")


@pytest.mark.parametrize("part", [b"answer", b"\x12", b"\x12\xff", b"\x12\x05abc"])
def test_a_part_that_cannot_be_read_is_an_error_of_protobuf(part: bytes) -> None:
    with pytest.raises(DecodeError):
        wire.stream_parts([part])


async def test_a_model_without_inputs_for_it_is_not_asked_itself() -> None:
    channel = AnsweringChannel("a:1", {})

    found = await TritonBackend(lambda _: channel).probe(
        endpoint(), a_model(), "inference", timeout_s=1
    )

    assert (found, channel.asked) == (None, [])


async def test_a_probe_is_what_the_catalog_says() -> None:
    channel = AnsweringChannel("a:1", {"ModelInfer": b""})
    inputs = (
        ProbeInput(name="text", values=("Hi",), shape=(1, 1)),
        ProbeInput(name="n", values=(1.0, 2.0), datatype="INT32"),
    )
    model = a_model(backend=BackendConfig(served_as="m", probe=Probe(inputs=inputs)))

    await TritonBackend(lambda _: channel).probe(endpoint(), model, "inference", timeout_s=1)

    request = kserve.ModelInferRequest.FromString(channel.sent[0])
    assert request.model_name == "m"
    assert [(each.name, each.datatype, list(each.shape)) for each in request.inputs] == [
        ("text", "BYTES", [1, 1]),
        ("n", "INT32", [2]),
    ]
    assert list(request.raw_input_contents) == [
        b"\2\0\0\0Hi",
        b"\1\0\0\0\2\0\0\0",
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(LOST, Unavailable), (DEAD, InstanceDead), (RpcError(Status.UNAVAILABLE, "x"), InstanceLost)],
    ids=["nothing was sent", "its process is dead", "it may have run"],
)
async def test_how_an_instance_was_lost(error: RpcError, expected: type[Unavailable]) -> None:
    triton = TritonBackend(lambda _: AnsweringChannel("a:1", {"ModelInfer": error}))

    with pytest.raises(Unavailable) as caught:
        await triton.infer(endpoint(), a_model(), a_request(), timeout_s=1)

    assert type(caught.value) is expected
    assert (caught.value.reason, caught.value.sent) == ("unavailable", error.sent)


async def test_a_decoupled_models_one_answer_waits_for_the_end_of_its_stream() -> None:
    stage, here = TritonStage(), a_model(backend=BackendConfig(served_as="m", dialect="vllm"))
    backend = TritonBackend(connect)
    async with stage.serving("127.0.0.1:0") as address:
        there = Endpoint(instance="i", address=address, concurrency=1)
        answer = await backend.infer(there, here, stage.request("x"), timeout_s=5)

        assert stage.text_of(answer.payload) == PARTS[0]
        assert stage.ended.is_set()
    await backend.close()


async def test_a_decoupled_models_answer_counts_however_its_stream_ends() -> None:
    stage, here = TritonStage(), a_model(backend=BackendConfig(served_as="m", dialect="vllm"))
    backend = TritonBackend(connect)
    async with stage.serving("127.0.0.1:0") as address:
        there = Endpoint(instance="i", address=address, concurrency=1)
        answer = await backend.infer(there, here, stage.request("break"), timeout_s=5)

        assert stage.text_of(answer.payload) == PARTS[0]
    await backend.close()
