"""How a Python client is made and closed, and what it makes of inputs and answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from constellation_client import (
    AI,
    AsyncAI,
    AuthenticationError,
    Binary,
    asking,
)
from constellation_client.asking import plain

from tests.clients.waits import Waits, calling
from tests.entry.fakes import (
    SECRET,
    TEXT,
    FakeServer,
    listening,
    says,
)

HI = {"prompt": "hi"}


async def test_a_block_closes_the_client() -> None:
    async with listening(FakeServer(says("ho")), http="", grpc="127.0.0.1:0") as bound:

        def sync() -> Any:
            with AI(bound.grpc, token=SECRET) as ai:
                return ai.run(TEXT, HI)

        async with AsyncAI(bound.grpc, token=SECRET) as ai:
            assert (await ai.run(TEXT, HI)) == await asyncio.to_thread(sync)


async def test_the_token_is_that_of_the_environment_unless_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSTELLATION_TOKEN", SECRET)
    async with listening(FakeServer(says("ho")), http="", grpc="127.0.0.1:0") as bound:
        async with AsyncAI(bound.grpc) as ai:
            assert await ai.run(TEXT, HI)
        async with AsyncAI(bound.grpc, token="nobody") as ai:
            with pytest.raises(AuthenticationError):
                await ai.run(TEXT, HI)


@pytest.mark.parametrize("source", ["pages_binding", "rest"])
async def test_the_source_of_requests_is_told(source: str) -> None:
    server = FakeServer(says("ho"))
    async with calling(AsyncAI, server, source=source) as ai:
        await ai.run(TEXT, HI)

    assert server.requests[0].request_source.name.lower() == source


@pytest.mark.parametrize("bad", [{"source": "carrier pigeon"}, {"retries": -1}])
def test_a_client_that_cannot_be_is_refused(kind: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        kind("127.0.0.1:1", **bad)


async def test_an_argument_that_there_is_not_is_refused(kind: Any) -> None:
    ai = Waits(kind("127.0.0.1:1", token="x"))

    with pytest.raises(TypeError, match="'temprature'"):
        await ai.run(TEXT, HI, temprature=1)
    with pytest.raises(TypeError, match=r"inputs: expected the fields .* or bytes, got str"):
        await ai.run(TEXT, "hi")
    with pytest.raises(TypeError, match="inputs: set is neither JSON nor bytes"):
        await ai.run(TEXT, {"prompt": {1}})
    await ai("close")


def test_bytes_within_inputs_are_base64() -> None:
    settings = AI("127.0.0.1:1", token="x")._settings
    inside = asking.request_of(settings, "m", {"image": b"\x00\xff"}, {})
    whole = asking.request_of(settings, "m", b"\x00\xff", {"content_type": "image/png"})
    bare = asking.request_of(settings, "m", memoryview(b"\x00"), {})

    assert inside.body == b'{"image": "AP8="}'
    assert (whole.body, whole.content_type) == (b"\x00\xff", "image/png")
    assert (bare.body, bare.content_type) == (b"\x00", "application/octet-stream")
    assert plain(bytearray(b"a")) == "YQ=="


def test_an_answer_that_is_no_json_is_bytes_with_a_type() -> None:
    from constellation_client.answers import read
    from constellation_client.pb import binding_pb2 as pb

    image = read(pb.RunResponse(body=b"\x89PNG", content_type="image/png"))
    value = read(pb.RunResponse(body=b"[1]", content_type="application/json; charset=utf-8"))

    assert (image, image.content_type, type(image)) == (b"\x89PNG", "image/png", Binary)
    assert value == [1]
