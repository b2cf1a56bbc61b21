"""Limits per client address, before it is known whose token it has, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import grpc
import pytest

from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from libs.common.rpc import channel
from tests.entry.fakes import ACCOUNT, OTHER_SECRET, SECRET, TEXT, FakeServer, listening, says

RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT}"
COLD = "/v1/models"
LOCAL = "127.0.0.0/8"
HOT_AND_COLD = pytest.mark.parametrize(
    ("method", "path"), [("POST", RUN), ("GET", COLD)], ids=["hot", "cold"]
)


class Client:
    """Asks with a token, as if a proxy told of an address."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def ask(self, method: str, path: str, secret: str, told: str = "") -> tuple[int, int]:
        """Return the status and the code, 0 for none."""
        headers = {"Authorization": f"Bearer {secret}"}
        if told:
            headers["X-Forwarded-For"] = told
        body = {"prompt": "hi"} if method == "POST" else None
        url = self._base + path
        async with self._session.request(method, url, json=body, headers=headers) as response:
            answer = await response.json()
            failed = response.status >= 400
            if response.status == 429:
                assert int(response.headers["Retry-After"]) >= 1
            return response.status, answer["errors"][0]["code"] if failed else 0


@asynccontextmanager
async def client_of(**settings: Any) -> AsyncIterator[Client]:
    async with (
        listening(FakeServer(*[says("ho")] * 100), **settings) as bound,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, f"http://{bound.http}")


@HOT_AND_COLD
async def test_wrong_tokens_of_an_address_are_looked_at_so_often(method: str, path: str) -> None:
    async with client_of(wrong_tokens_per_address=3) as client:
        assert await client.ask(method, path, SECRET) == (200, 0)
        guesses = [await client.ask(method, path, f"guess-{at}") for at in range(5)]

        assert guesses == [(401, 10000)] * 3 + [(429, 7009)] * 2
        assert await client.ask(method, path, SECRET) == (200, 0)  # it was served before
        assert await client.ask("GET", COLD, OTHER_SECRET) == (429, 7009)  # it was not


@HOT_AND_COLD
async def test_requests_of_an_address_are_answered_so_often(method: str, path: str) -> None:
    async with client_of(requests_per_address=0.1) as client:
        answers = [await client.ask(method, path, SECRET) for _ in range(2)]

    assert answers == [(200, 0), (429, 7008)]


async def test_what_needs_no_token_is_counted_as_well() -> None:
    async with client_of(requests_per_address=0.1) as client:
        assert await client.ask("GET", "/healthz", "") == (200, 0)
        assert await client.ask("GET", "/nothing", "") == (429, 7008)


@HOT_AND_COLD
async def test_behind_a_proxy_clients_are_who_it_says(method: str, path: str) -> None:
    async with client_of(requests_per_address=0.1, trusted_proxies=LOCAL) as client:
        told = ["198.51.100.1", "198.51.100.2", "203.0.113.9, 198.51.100.1"]
        answers = [await client.ask(method, path, SECRET, each) for each in told]

    assert answers == [(200, 0), (200, 0), (429, 7008)]


@HOT_AND_COLD
async def test_nobody_else_is_believed(method: str, path: str) -> None:
    async with client_of(requests_per_address=0.1, trusted_proxies="10.0.0.0/8") as client:
        told = ["198.51.100.1", "198.51.100.2"]
        answers = [await client.ask(method, path, SECRET, each) for each in told]

    assert answers == [(200, 0), (429, 7008)]


async def test_many_connections_of_an_address_are_refused_and_fewer_are_not() -> None:
    async with listening(FakeServer(), connections_per_address=2) as bound:
        host, port = bound.http.split(":")
        with closing(socket.create_connection((host, int(port)))):
            first = await asyncio.open_connection(host, int(port))
            reader, writer = await asyncio.open_connection(host, int(port))
            refused = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            first[1].close()
            await first[1].wait_closed()
            async with aiohttp.ClientSession() as session:
                answer = await session.get(f"http://{bound.http}/healthz")

    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b'"code":7010' in refused
    assert answer.status == 200


async def test_a_proxys_connections_are_not_counted() -> None:
    settings = {"connections_per_address": 1, "trusted_proxies": LOCAL}
    async with listening(FakeServer(), **settings) as bound, aiohttp.ClientSession() as session:
        host, port = bound.http.split(":")
        with closing(socket.create_connection((host, int(port)))):
            answer = await session.get(f"http://{bound.http}/healthz")

    assert answer.status == 200


@pytest.mark.parametrize(
    ("settings", "statuses", "code"),
    [
        ({"wrong_tokens_per_address": 2}, ["UNAUTHENTICATED"] * 2, "7009"),
        ({"requests_per_address": 0.1}, ["UNAUTHENTICATED"], "7008"),
    ],
)
async def test_the_grpc_port_counts_as_well(
    settings: dict[str, Any], statuses: list[str], code: str
) -> None:
    config: Any = {"grpc": "127.0.0.1:0", **settings}
    found = []
    async with listening(FakeServer(), **config) as bound, channel(bound.grpc) as connection:
        stub: Any = BindingServiceStub(connection)
        for at in range(len(statuses) + 1):
            who = (("authorization", f"Bearer guess-{at}"),)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Models(pb.ModelsRequest(account=ACCOUNT), metadata=who, timeout=5)
            found.append(refused.value)

    assert [each.code().name for each in found] == [*statuses, "RESOURCE_EXHAUSTED"]
    assert dict(found[-1].trailing_metadata() or ())["code"] == code
