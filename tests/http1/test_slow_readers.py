"""Readers that are slow, or stop: writers wait for them, within bounds of memory and time."""

import asyncio

import pytest

from libs.eager import EagerTask, start
from libs.http1 import Request, Responder
from tests.http1.support import a_client, a_site, post
from tests.waiting import until


async def test_a_writer_waits_for_a_slow_reader_and_memory_stays_bounded() -> None:
    part = b"x" * 65_536
    async with a_site(write_buffer=65_536) as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        responder = site.responders[0]
        connection = next(iter(site.server._core.connections))
        responder.begin(200, [])
        sent, waited, most = 0, 0, 0

        async def write() -> None:
            nonlocal sent, waited, most
            for _ in range(400):
                room = responder.write(part)
                sent += 1
                most = max(most, connection._transport.get_write_buffer_size())
                if room is not None:
                    waited += 1
                    await room
            responder.end()

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        assert sent < 400
        answer = await client.answer(seconds=20)
        await writing

        assert len(answer.body) == 400 * len(part)
        assert waited > 3
        assert most < 300_000


async def test_a_writer_that_does_not_wait_hears_it_each_time() -> None:
    async with a_site(write_buffer=1000) as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        responder = site.responders[0]
        responder.begin(200, [])
        first = second = None
        for _ in range(10_000):
            first, second = responder.write(b"x" * 10_000), responder.write(b"y")
            if first:
                break
        assert first is second is not None
        client.writer.transport.abort()
        await asyncio.wait_for(asyncio.ensure_future(_value(first)), 5)

        assert responder.is_gone


async def _value(room: object) -> None:
    await room  # type: ignore[misc]


async def test_an_eager_task_streams_and_is_cancelled_when_its_client_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[EagerTask[None]] = []

    async def stream(responder: Responder) -> None:
        responder.begin(200, [])
        while True:
            if room := responder.write(b"x" * 10_000):
                await room
            await asyncio.sleep(0)

    def handle(request: Request, responder: Responder) -> None:
        responder.on_gone = start(stream(responder), ended.append).cancel

    async with a_site(write_buffer=10_000) as site, a_client(site) as client:
        monkeypatch.setattr(site, "on_echo", handle)
        client.send(post())
        await client.reader.readexactly(1_000_000)
        await asyncio.sleep(0.05)
        assert not ended
        client.writer.transport.abort()
        await until(lambda: ended)

        assert isinstance(ended[0].exception(), asyncio.CancelledError)


async def test_pipelined_requests_wait_for_a_client_that_does_not_read() -> None:
    async with a_site(write_buffer=10_000) as site, a_client(site, limit=1000) as client:
        client.send(post("/hot/large?3000000") * 10 + post("/cold"))
        await asyncio.sleep(0.1)
        assert site.server.counters.requests < 10
        for _ in range(10):
            assert len((await client.answer()).body) == 3_000_000

        assert (await client.answer()).json()["cold"] == "/cold"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_client_that_reads_nothing_is_dropped(streaming: bool) -> None:
    async with a_site(write_s=0.3, idle_s=0.3) as site, a_client(site, limit=1000) as client:
        client.send(post("/hot/wait") if streaming else post("/hot/large?20000000"))
        if streaming:
            await until(lambda: site.responders)
            site.responders[0].begin(200, [])
            while site.responders[0].write(b"x" * 100_000) is None:
                await asyncio.sleep(0)
        await until(lambda: site.server.counters.connections == 0)

        assert site.gone == (["/hot/wait"] if streaming else [])


async def test_a_client_that_reads_slowly_is_not_dropped() -> None:
    async with a_site(write_s=0.6) as site, a_client(site, limit=1000) as client:
        client.send(post("/hot/large?20000000"))
        read = 0
        while read < 20_000_000:
            data = await client.reader.read(2_000_000)
            assert data, "was dropped"
            read += len(data)
            await asyncio.sleep(0.001)
