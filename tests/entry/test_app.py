"""Entry as a whole: what operators see, how it listens and how it leaves."""

import asyncio
import traceback
from typing import Any

import aiohttp
import pytest

from libs.common.envelope import InferReply, InferRequest
from libs.common.world import World
from services.entry.app import Config, serve
from tests.entry.fakes import (
    ACCOUNT,
    SECRET,
    TEXT,
    FakeServer,
    entry_of,
    listening,
    says,
    small_world,
)

AUTH = {"Authorization": f"Bearer {SECRET}"}
RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT}"


async def get(server: FakeServer, path: str, world: World | None = None) -> tuple[int, str]:
    async with listening(server, world=world) as bound, aiohttp.ClientSession() as client:
        response = await client.get(f"http://{bound.http}{path}")
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("world", "status", "words"),
    [
        (World(), 503, "nothing has come from control yet"),
        (small_world(), 503, "no server is known"),
        (small_world("ams"), 200, "ready"),
    ],
    ids=["no snapshot", "no server", "ready"],
)
async def test_readiness_says_why_not(world: World, status: int, words: str) -> None:
    found, text = await get(FakeServer(), "/readyz", world)

    assert (found, words in text) == (status, True)
    assert (await get(FakeServer(), "/healthz", world))[0] == 200


async def test_the_index_says_what_is_here() -> None:
    status, text = await get(FakeServer(), "/")

    assert status == 200
    assert "/ai/run/{model}" in text


async def test_metrics_count_each_request_once() -> None:
    server = FakeServer(says("ho"))
    async with listening(server) as bound, aiohttp.ClientSession(headers=AUTH) as client:
        base = f"http://{bound.http}"
        for body in ({"prompt": "a"}, {"prompt": "a", "stream": True}, {}):
            await (await client.post(base + RUN, json=body)).read()
        await (await client.post(base + RUN, headers={"Authorization": ""})).read()
        text = await (await client.get(f"{base}/metrics")).text()

    name = "constellation_entry_requests_total"
    assert f'{name}{{colo="ams",status="200",task="text-generation"}} 2.0' in text
    assert f'{name}{{colo="ams",status="400",task=""}} 1.0' in text
    assert f'{name}{{colo="ams",status="401",task=""}} 1.0' in text
    assert 'constellation_entry_errors_total{code="10000",colo="ams"} 1.0' in text
    assert 'constellation_entry_in_flight{colo="ams"} 0.0' in text


async def test_a_port_in_use_is_one_clear_line() -> None:
    async with listening(FakeServer()) as bound:
        config = Config(http=bound.http, grpc="")
        entry = entry_of(small_world(), {}, config=config)

        with pytest.raises(OSError, match=f"cannot listen on {bound.http}: the port is in use"):
            async with serve(config, entry):
                pass


@pytest.mark.parametrize("address", ["8080", ":8080", "localhost:http"])
async def test_an_address_needs_host_and_port(address: str) -> None:
    config = Config(http=address, grpc="")

    with pytest.raises(OSError, match="expected host:port"):
        async with serve(config, entry_of(small_world(), {}, config=config)):
            pass


async def ask(address: str) -> int:
    async with aiohttp.ClientSession(headers=AUTH) as client:
        response = await client.post(f"http://{address}{RUN}", json={"prompt": "a"})
        await response.read()
        return response.status


async def test_leaving_lets_calls_in_flight_end() -> None:
    go = asyncio.Event()
    server = FakeServer(go, says("ho"))
    async with listening(server) as bound:
        asking = asyncio.create_task(ask(bound.http))
        await server.reached.wait()
        asyncio.get_running_loop().call_later(0.1, go.set)

    assert await asking == 200
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(bound.http)


async def test_leaving_cancels_what_does_not_end() -> None:
    server = FakeServer(asyncio.Event())
    async with asyncio.timeout(5):
        async with listening(server, drain_s=0.1) as bound:
            asking = asyncio.create_task(ask(bound.http))
            await server.reached.wait()

        await server.cancelled.wait()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asking


@pytest.mark.interpreted
async def test_few_frames_stand_between_a_front_and_the_server() -> None:
    class Counting(FakeServer):
        frames: list[str]

        async def infer(self, request: InferRequest) -> InferReply:
            self.frames = [f.name for f in traceback.extract_stack() if "/services/" in f.filename]
            return await super().infer(request)

    server = Counting(says("ho"))
    async with listening(server) as bound:
        assert await ask(bound.http) == 200

    assert server.frames == ["handle", "run", "run", "run"]


async def test_broken_http_is_refused_and_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(FakeServer()) as bound:
        reader, writer = await asyncio.open_connection(*bound.http.split(":"))
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n")
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert b" 400 " in status
    assert not caplog.records


async def test_an_entry_without_a_front_listens_nowhere() -> None:
    config: Any = Config(http="", grpc="")
    async with serve(config, entry_of(small_world(), {}, config=config)) as bound:
        assert (bound.http, bound.grpc) == ("", "")
