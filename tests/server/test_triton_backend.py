"""The way to Triton: what a message has, and how long a channel stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from libs.common.catalog import Backend as BackendConfig
from libs.common.pb import kserve_pb2 as kserve
from libs.common.world import World
from libs.lean import Method
from services.server.backends.triton import TritonBackend
from services.server.endpoints import Endpoint
from services.server.service import InferenceServer
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
        raise NotImplementedError

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
