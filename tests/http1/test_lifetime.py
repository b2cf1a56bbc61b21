"""How long connections last: slow ones, idle ones, those of a leaving server; nothing leaks."""

import asyncio
import gc
import random
from typing import Any

import pytest

from libs.http1.connection import Connection
from libs.http1.responder import Responder
from tests.http1.support import GET_COLD, Client, a_client, a_site, post, raw_post
from tests.waiting import until

HALF_BODY = post(body=b"hello")[:-2]
HALF_CHUNKS = raw_post("Host: x", "Transfer-Encoding: chunked", body=b"5\r\nhel")


async def status_of(client: Client) -> tuple[int, str]:
    answer = await client.answer()
    assert answer.headers["connection"] == "close"
    assert await client.rest() == b""
    return answer.status, answer.json()[0]


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (b"", (408, "slow_headers")),
        (b"P", (408, "slow_headers")),
        (post()[:30], (408, "slow_headers")),
        (GET_COLD[:-1], (408, "slow_headers")),
        (HALF_BODY, (408, "slow_body")),
        (HALF_CHUNKS, (408, "slow_body")),
    ],
)
async def test_what_does_not_come_is_refused(sent: bytes, refusal: tuple[int, str]) -> None:
    async with a_site(header_s=0.1, body_s=0.1) as site, a_client(site) as client:
        client.send(sent)

        assert await status_of(client) == refusal
        assert site.server.counters.refused == {refusal[1]: 1}
        await until(lambda: not site.server.counters.connections)


@pytest.mark.parametrize(
    "sent", [post(), HALF_BODY + b"lo", HALF_CHUNKS], ids=["head", "body", "chunks"]
)
async def test_drops_of_it_do_not_help(sent: bytes) -> None:
    async with a_site(header_s=0.2, body_s=0.2) as site, a_client(site) as client:
        dripping = asyncio.create_task(_drip(client, sent))
        status, _ = await status_of(client)
        dripping.cancel()

        assert status == 408
        assert site.requests == []


async def _drip(client: Client, sent: bytes) -> None:
    for n in range(len(sent)):
        client.send(sent[n : n + 1])
        await asyncio.sleep(0.02)


async def test_a_second_request_has_its_own_time() -> None:
    async with a_site(header_s=0.4, idle_s=5) as site, a_client(site) as client:
        client.send(post())
        await client.answer()
        await asyncio.sleep(0.6)
        client.send(post()[:-20])
        await asyncio.sleep(0.1)
        client.send(post()[-20:])
        assert (await client.answer()).status == 200
        client.send(b"P")

        assert await status_of(client) == (408, "slow_headers")


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with a_site(idle_s=0.1) as site, a_client(site) as client:
        client.send(post())
        await client.answer()

        assert await client.rest() == b""
        await until(lambda: not site.server.counters.connections)
        assert site.server.counters.refused == {}


async def test_empty_lines_do_not_keep_a_connection() -> None:
    async with a_site(idle_s=0.3, header_s=0.3) as site, a_client(site) as client:
        client.send(post())
        await client.answer()
        dripping = asyncio.create_task(_drip(client, b"\r\n" * 100))

        await client.rest(seconds=2)
        dripping.cancel()


async def test_an_answer_may_take_longer_than_any_bound() -> None:
    async with (
        a_site(header_s=0.1, body_s=0.1, idle_s=0.1, write_s=0.1) as site,
        a_client(site) as client,
    ):
        client.send(post("/hot/wait"))
        await asyncio.sleep(1)
        site.responders[0].answer(200, [], b"at last")

        assert (await client.answer()).body == b"at last"


async def test_a_server_that_leaves_closes_the_idle_and_takes_no_other() -> None:
    async with a_site() as site, a_client(site) as idle, a_client(site) as fresh:
        idle.send(post())
        await idle.answer()
        await site.server.stop_accepting()

        assert await idle.rest() == b""
        assert await fresh.rest() == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", site.port)


@pytest.mark.parametrize("asked_before", [1, 0], ids=["idle", "fresh"])
async def test_a_server_that_leaves_answers_what_was_on_its_way(asked_before: int) -> None:
    async with a_site() as site, a_client(site) as client:
        for _ in range(asked_before):
            client.send(post())
            await client.answer()
        await until(lambda: site.server.counters.accepted)
        await site.server.stop_accepting()
        await asyncio.sleep(0.1)
        client.send(post())

        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.rest() == b""


@pytest.mark.parametrize("sent", [post()[:-10], HALF_BODY], ids=["head", "body"])
async def test_a_server_that_leaves_answers_what_has_begun(sent: bytes) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(sent)
        await until(lambda: site.server.counters.accepted)
        await asyncio.sleep(0.02)
        await site.server.stop_accepting()
        client.send(post()[len(sent) :])

        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.rest() == b""
        client.writer.close()
        await until(lambda: not site.server.counters.connections)


async def test_a_server_that_leaves_answers_no_more_than_the_current_request() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait") + post())
        await until(lambda: site.responders)
        await site.server.stop_accepting()
        site.responders[0].answer(200, [], b"bye")

        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"bye", "close")
        assert await client.rest() == b""
        assert site.server.counters.requests == 1


async def test_closing_waits_for_answers_and_no_longer() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        responder = site.responders[0]
        responder.begin(200, [])
        asyncio.get_running_loop().call_later(0.1, responder.end)
        reading = asyncio.create_task(_read_and_close(client))
        began = asyncio.get_running_loop().time()
        await site.server.close(5)

        assert asyncio.get_running_loop().time() - began < 1
        assert (await reading).endswith(b"0\r\n\r\n")
        assert site.gone == []


async def _read_and_close(client: Client) -> bytes:
    read = await client.rest()
    client.writer.close()
    return read


async def test_closing_drops_what_takes_too_long_and_says_so() -> None:
    async with a_site() as site, a_client(site) as client, a_client(site) as second:
        for each in (client, second):
            each.send(post("/hot/wait"))
        await until(lambda: len(site.responders) == 2)
        site.responders[1].on_gone = lambda: site.responders[1].answer(200, [], b"no")
        began = asyncio.get_running_loop().time()
        await site.server.close(0.2)

        assert 0.15 < asyncio.get_running_loop().time() - began < 1
        assert site.gone == ["/hot/wait"]
        assert site.server.counters.connections == 0
        assert await client.rest() == b""


@pytest.mark.parametrize("sent", [HALF_BODY, HALF_CHUNKS, post()[:20]])
async def test_a_request_that_does_not_come_holds_no_server_up(sent: bytes) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(sent)
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(site.server.close(30))

        assert await status_of(client) == (503, "leaving")
        client.writer.close()
        async with asyncio.timeout(2):
            await closing


async def test_counters_tell_what_happened() -> None:
    async with a_site() as site, a_client(site) as client, a_client(site) as cold:
        client.send(post() * 3)
        for _ in range(3):
            await client.answer()
        cold.send(GET_COLD)
        await cold.answer()
        async with a_client(site) as bad:
            bad.send(b"\0\0")
            await bad.answer()
        counters = site.server.counters
        await until(lambda: counters.connections == 1)

        assert (counters.accepted, counters.requests, counters.handed_over) == (3, 3, 1)
        assert counters.refused == {"bad_request": 1}


def count(kind: type[Any]) -> int:
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


async def test_a_thousand_clients_that_leave_anywhere_leave_nothing() -> None:
    chance = random.Random(1)
    others = count(Connection), count(Responder)  # that errors of other tests hold on to
    sent = (
        post("/hot/soon", b"b" * 100)
        + HALF_CHUNKS[:-3]
        + b"5\r\nhello\r\n0\r\n\r\n"
        + post("/hot/wait")
    )
    async with a_site() as site:

        async def come_and_go() -> None:
            async with a_client(site) as client:
                client.send(sent[: chance.choice([0, chance.randrange(len(sent) + 1), len(sent)])])
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.random() * 0.01)
                if chance.random() < 0.3:
                    client.writer.write_eof()
                    await asyncio.sleep(0)
                elif chance.random() < 0.2:
                    client.send(post("/hot/wait"))
                    await asyncio.sleep(0.01)

        for _ in range(40):
            await asyncio.gather(*[come_and_go() for _ in range(25)])
        await until(lambda: site.server.counters.accepted == 1000)
        await until(lambda: not site.server.counters.connections)
        waited = len(site.responders)
        site.responders.clear()

        assert len(site.gone) == waited > 0
        # A method that was cut makes a request for the other protocol, which is looked after so.
        await until(lambda: len(site.server._core.timers) == 0)
        assert not site.server._core.connections
    await asyncio.sleep(0.02)
    site.requests.clear()
    await until(lambda: (count(Connection), count(Responder)) == others)


async def test_a_connection_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with a_site() as site:
            before = sum(type(each) is Connection for each in gc.get_objects())
            for _ in range(5):
                async with a_client(site) as client:
                    client.send(post() + HALF_CHUNKS)
                    await client.answer()
            await until(lambda: not site.server.counters.connections)
            await asyncio.sleep(0.02)
            after = sum(type(each) is Connection for each in gc.get_objects())
    finally:
        gc.enable()
    assert after - before <= 1  # asyncio's last transport may be there still
