"""What is too large is refused at every front, and before a token is looked at where it can be."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import Any

import aiohttp
import grpc
import pytest

from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from libs.common.rpc import channel
from services.entry import app
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, FakeServer, listening

MOST = 1000
RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT}"
CHAT = "/v1/chat/completions"
SPEECH = "/v1/audio/transcriptions"
FINETUNES = f"/client/v4/accounts/{ACCOUNT}/ai/finetunes"
LARGE = b'{"prompt": "' + b"x" * 4 * MOST + b'"}'


async def chunks() -> Any:
    for at in range(0, len(LARGE), 100):
        yield LARGE[at : at + 100]


@pytest.mark.parametrize("path", [RUN, CHAT, SPEECH, FINETUNES])
@pytest.mark.parametrize("way", ["whole", "in chunks", "packed"])
async def test_a_large_body_is_refused(path: str, way: str) -> None:
    body: Any = {"whole": LARGE, "in chunks": chunks(), "packed": gzip.compress(LARGE)}[way]
    headers = {"Authorization": f"Bearer {SECRET}"}
    if way == "packed":
        headers["Content-Encoding"] = "gzip"
    server = FakeServer()
    async with (
        listening(server, max_body_bytes=MOST) as bound,
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"http://{bound.http}{path}", data=body) as answer,
    ):
        told = await answer.json()

    assert (answer.status, told["errors"][0]["code"]) == (413, 3006)
    assert server.requests == []


@pytest.mark.parametrize("path", [RUN, CHAT])
async def test_without_a_token_no_byte_of_it_is_waited_for(path: str) -> None:
    async with listening(FakeServer(), max_body_bytes=MOST) as bound:
        host, port = bound.http.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.close()

    assert re.match(rb"HTTP/1\.1 413 ", head)


@pytest.mark.parametrize(
    ("size", "code"), [(2 * MOST, "3006"), (4 * app.BESIDE_BODY_BYTES, "")], ids=["read", "unread"]
)
async def test_over_grpc_too(size: int, code: str) -> None:
    config: Any = {"grpc": "127.0.0.1:0", "max_body_bytes": MOST}
    who = (("authorization", f"Bearer {SECRET}"),)
    message = pb.RunRequest(account=ACCOUNT, model=TEXT, body=b"x" * size)
    async with listening(FakeServer(), **config) as bound, channel(bound.grpc) as connection:
        stub: Any = BindingServiceStub(connection)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Run(message, metadata=who, timeout=5)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(refused.value.trailing_metadata() or ()).get("code", "") == code


async def test_metrics_need_not_be_on_the_port() -> None:
    async def status(**settings: Any) -> int:
        async with listening(FakeServer(), **settings) as bound, aiohttp.ClientSession() as client:
            return (await client.get(f"http://{bound.http}/metrics")).status

    assert (await status(), await status(metrics=False)) == (200, 404)
