"""Answers: whole or in parts, to readers that are slow or gone, and never with foreign headers."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import pytest

from libs.http1 import Request, Responder
from tests.http1.support import JSON, a_client, a_site, post
from tests.waiting import until


async def test_a_stream_comes_in_chunks_and_the_connection_stays() -> None:
    async with a_site() as site, a_client(site) as client:
        for _ in range(2):
            client.send(post("/hot/stream"))
            answer = await client.answer()
            assert answer.headers["transfer-encoding"] == "chunked"
            assert "content-length" not in answer.headers
            assert answer.body == b"onetwothree"


@pytest.mark.parametrize("lines", [[], ["Connection: keep-alive"]])
async def test_a_stream_to_http_1_0_ends_with_the_connection(lines: list[str]) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/stream", b"", *lines, version="1.0"))
        answer = await client.answer()

        assert "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close"
        assert answer.body == b"onetwothree"


async def test_a_stream_can_take_its_time() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        responder = site.responders[0]
        responder.begin(201, JSON)
        head = await client.reader.readuntil(b"\r\n\r\n")
        responder.write(b"a")
        responder.write(b"")
        responder.write(b"b" * 20)
        parts = await client.reader.readexactly(6 + 26)
        responder.end()
        responder.end()
        responder.write(b"late")
        responder.answer(200, [], b"late")
        end = await client.reader.readexactly(5)
        client.send(post())

        assert head.startswith(b"HTTP/1.1 201 Created\r\nDate: ")
        assert parts == b"1\r\na\r\n14\r\n" + b"b" * 20 + b"\r\n"
        assert end == b"0\r\n\r\n"
        assert (await client.answer()).status == 200
        assert site.gone == []


async def test_what_is_written_in_one_turn_is_sent_in_one_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        responder, connection = site.responders[0], next(iter(site.server._core.connections))
        written: list[bytes] = []

        class Recorder:
            def write(self, data: bytes) -> None:
                written.append(data)

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

        transport = connection._transport
        monkeypatch.setattr(connection, "_transport", Recorder())
        responder.begin(200, [])
        responder.write(b"a")
        responder.write(b"b")
        await asyncio.sleep(0.01)
        responder.write(b"c")
        responder.end()
        connection.data_received(post() * 3)

        assert len(written) == 3
        assert written[0].endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n")
        assert written[1] == b"1\r\nc\r\n0\r\n\r\n"
        assert written[2].count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\0b"),
        ("X\r\nY", "a"),
        ("X: a\r\nY", "a"),
        ("X Y", "a"),
        ("", "a"),
        ("X\u00fc", "a"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Date", "now"),
    ],
)
async def test_no_header_can_bring_another_one(header: tuple[str, str]) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        for _ in range(2):
            with pytest.raises(ValueError, match="header"):
                site.responders[0].answer(200, [header], b"")
            with pytest.raises(ValueError, match="header"):
                site.responders[0].begin(200, [header])
        site.responders[0].answer(200, [("X", "\u00fc\t\udcff")], b"fine")

        answer = await client.answer()
        assert answer.body == b"fine"
        assert answer.headers["x"].encode("latin-1") == b"\xc3\xbc\t\xff"


async def test_statuses_without_a_body_have_none() -> None:
    async with a_site() as site, a_client(site) as client:
        for status in (204, 304, 299):
            client.send(post("/hot/wait"))
            await until(lambda: site.responders)
            responder = site.responders.pop()
            for wrong in (100, 199, 600):
                with pytest.raises(ValueError, match="status"):
                    responder.answer(wrong, [], b"")
            if status != 299:
                with pytest.raises(ValueError, match="no body"):
                    responder.answer(status, [], b"x")
                with pytest.raises(ValueError, match="no body"):
                    responder.begin(status, [])
            responder.answer(status, [], b"")
            answer = await client.answer()
            assert answer.status == status
            assert ("content-length" in answer.headers) is (status == 299)


async def test_steps_out_of_order_are_mistakes() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        responder = site.responders[0]
        too_early: list[Callable[[], object]] = [lambda: responder.write(b"x"), responder.end]
        for act in too_early:
            with pytest.raises(RuntimeError, match="not begun"):
                act()
        responder.begin(200, [])
        for act in (partial(responder.begin, 200, []), partial(responder.answer, 200, [], b"")):
            with pytest.raises(RuntimeError, match="has begun"):
                act()


async def test_a_handler_that_raises_is_answered_500_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/raise") + post())
        answer = await client.answer()

        assert (answer.status, answer.json()[0]) == (500, "internal")
        assert (await client.answer()).status == 200
        assert caplog.text.count("RuntimeError: on purpose") == 1


async def test_a_handler_that_raises_in_a_stream_cuts_it_short(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin_and_raise(request: Request, responder: Responder) -> None:
        responder.begin(200, [])
        responder.write(b"half")
        raise RuntimeError("on purpose")

    async with a_site() as site, a_client(site) as client:
        monkeypatch.setattr(site, "on_echo", begin_and_raise)
        client.send(post())

        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        assert "on purpose" in caplog.text
        await until(lambda: not site.server.counters.connections)


async def test_a_handler_that_raises_after_its_answer_changes_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_and_raise(request: Request, responder: Responder) -> None:
        responder.answer(200, [], b"fine")
        raise RuntimeError("on purpose")

    async with a_site() as site, a_client(site) as client:
        monkeypatch.setattr(site, "on_echo", answer_and_raise)
        client.send(post() * 2)

        assert [(await client.answer()).body for _ in range(2)] == [b"fine", b"fine"]
        assert caplog.text.count("RuntimeError: on purpose") == 2


@pytest.mark.parametrize("leave", ["close", "half-close", "reset"])
async def test_a_client_that_leaves_is_told_of_once(leave: str) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        if leave == "close":
            client.writer.close()
        elif leave == "half-close":
            client.writer.write_eof()
        else:
            client.writer.transport.abort()
        await until(lambda: site.gone)
        responder = site.responders[0]
        for _ in range(2):
            responder.begin(200, [])
            assert responder.write(b"x") is None
            responder.end()
            responder.answer(200, [], b"")
            responder.abort()
        await until(lambda: not site.server.counters.connections)

        assert responder.is_gone
        assert responder.on_gone is None
        assert site.gone == ["/hot/wait"]


async def test_a_client_that_half_closes_after_a_quick_request_gets_its_answer() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post())
        client.writer.write_eof()

        assert (await client.answer()).status == 200
        assert await client.rest() == b""


async def test_a_client_that_leaves_after_its_answer_is_not_told_of() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        site.responders[0].answer(200, [], b"")
        client.writer.transport.abort()
        await until(lambda: not site.server.counters.connections)

        assert site.gone == []
        assert not site.responders[0].is_gone


async def test_what_fails_when_a_client_leaves_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        site.responders[0].on_gone = lambda: 1 / 0
        client.writer.transport.abort()
        await until(lambda: not site.server.counters.connections)

        assert "ZeroDivisionError" in caplog.text


async def test_an_answer_can_be_cut_off() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        site.responders[0].begin(200, [])
        site.responders[0].abort()

        await client.rest()
        assert site.responders[0].is_gone
        assert site.gone == []


async def test_nothing_is_logged_of_clients_that_come_and_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "libs.http1"):
        async with a_site() as site:
            for sent in (b"", b"POST", post()[:-2], post("/hot/wait"), post()):
                async with a_client(site) as client:
                    client.send(sent)
                    await asyncio.sleep(0.01)

    assert not [record for record in caplog.records if record.name == "libs.http1"]
