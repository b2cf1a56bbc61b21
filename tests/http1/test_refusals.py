"""What can be read in two ways, is too large or makes no sense never becomes a request."""

import asyncio
from typing import Any

import pytest

from tests.http1.support import GET_COLD, Client, a_client, a_site, post, raw_post
from tests.waiting import until

HOST = "Host: x"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /hot/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def chunked(body: bytes, *lines: str) -> bytes:
    return raw_post(HOST, "Transfer-Encoding: chunked", *lines, body=body)


AMBIGUOUS = {
    "length and chunks": raw_post(
        HOST, "Content-Length: 5", "Transfer-Encoding: chunked", body=CHUNKS
    ),
    "chunks and length": raw_post(
        HOST, "Transfer-Encoding: chunked", "Content-Length: 5", body=CHUNKS
    ),
    "two lengths": raw_post(HOST, "Content-Length: 5", "Content-Length: 6", body=b"hello!"),
    "the same length twice": raw_post(
        HOST, "Content-Length: 5", "Content-Length: 5", body=b"hello"
    ),
    "a list of lengths": raw_post(HOST, "Content-Length: 5, 5", body=b"hello"),
    "a signed length": raw_post(HOST, "Content-Length: +5", body=b"hello"),
    "a negative length": raw_post(HOST, "Content-Length: -5", body=b"hello"),
    "a hexadecimal length": raw_post(HOST, "Content-Length: 0x5", body=b"hello"),
    "a length with a fraction": raw_post(HOST, "Content-Length: 5.0", body=b"hello"),
    "a length with a space": raw_post(HOST, "Content-Length: 5 5", body=b"hello"),
    "a length with an underscore": raw_post(HOST, "Content-Length: 1_0", body=b"hello"),
    "an Arabic length": raw_post(HOST, "Content-Length: \u0665", body=b"hello"),
    "an endless length": raw_post(HOST, "Content-Length: " + "9" * 30, body=b"hello"),
    "an empty length": raw_post(HOST, "Content-Length:", body=b"hello"),
    "another coding": raw_post(HOST, "Transfer-Encoding: gzip", body=CHUNKS),
    "identity": raw_post(HOST, "Transfer-Encoding: identity", body=CHUNKS),
    "codings": raw_post(HOST, "Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "chunked twice": raw_post(HOST, "Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "chunked in two headers": chunked(CHUNKS, "Transfer-Encoding: chunked"),
    "chunked and identity": chunked(CHUNKS, "Transfer-Encoding: identity"),
    "quoted chunked": raw_post(HOST, 'Transfer-Encoding: "chunked"', body=CHUNKS),
    "chunked with a vertical tab": raw_post(HOST, "Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "chunked with something": raw_post(HOST, "Transfer-Encoding: chunked;q=1", body=CHUNKS),
    "an empty coding": raw_post(HOST, "Transfer-Encoding:", body=CHUNKS),
    "chunks of HTTP/1.0": raw_post(
        HOST, "Transfer-Encoding: chunked", body=CHUNKS, first="POST /hot HTTP/1.0"
    ),
    "a folded line": raw_post(HOST, "X-A: 1", " Content-Length: 5", body=b"hello"),
    "a line folded by a tab": raw_post(HOST, "X-A: 1", "\tb"),
    "a folded first header": raw_post(" X-A: 1", HOST),
    "a space before the colon": raw_post(HOST, "Content-Length : 5", body=b"hello"),
    "a tab before the colon": raw_post(HOST, "Transfer-Encoding\t: chunked", body=CHUNKS),
    "no colon": raw_post(HOST, "Content-Length"),
    "no name": raw_post(HOST, ": 5"),
    "a name that is no token": raw_post(HOST, "X(A): 5"),
    "a name that is no ASCII": raw_post(HOST, "\u00fc: 5"),
    "a NUL in a name": raw_post(HOST, "X\0: 5"),
    "a NUL in a value": raw_post(HOST, "X: a\0b"),
    "a control character": raw_post(HOST, "X: a\x01b"),
    "a DEL": raw_post(HOST, "X: a\x7fb"),
    "a bare LF in a value": raw_post(HOST, "X: a\nContent-Length: 5", body=b"hello"),
    "a bare CR in a value": raw_post(HOST, "X: a\rContent-Length: 5", body=b"hello"),
    "a CR before CRLF": raw_post(HOST, "X: a\r"),
    "only LFs": b"POST /hot HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "an LF at the end": b"POST /hot HTTP/1.1\r\nHost: x\r\n\n" + SMUGGLED,
    "an LF after the request line": b"POST /hot HTTP/1.1\nHost: x\r\n\r\n",
    "no host": raw_post("Content-Length: 0"),
    "two hosts": raw_post(HOST, HOST),
    "a host with a space": raw_post("Host: a b"),
    "a host with a path": raw_post("Host: a/b"),
    "a host with a user": raw_post("Host: a@b"),
    "two hosts in one": raw_post("Host: a, b"),
    "a space at the front": b" " + post(),
    "a method that is no token": raw_post(HOST, first="PO(ST /hot HTTP/1.1"),
    "two spaces": raw_post(HOST, first="POST  /hot HTTP/1.1"),
    "a tab": raw_post(HOST, first="POST\t/hot HTTP/1.1"),
    "a space in the target": raw_post(HOST, first="POST /hot a HTTP/1.1"),
    "a space at the line's end": raw_post(HOST, first="POST /hot HTTP/1.1 "),
    "a fragment": raw_post(HOST, first="POST /hot#a HTTP/1.1"),
    "a NUL in the target": raw_post(HOST, first="POST /hot\0 HTTP/1.1"),
    "a target that is no ASCII": raw_post(HOST, first="POST /hot/\u00fc HTTP/1.1"),
    "a target of another scheme": raw_post(HOST, first="POST ftp://h/hot HTTP/1.1"),
    "a target with a user": raw_post(HOST, first="POST http://u@h/hot HTTP/1.1"),
    "a target without a host": raw_post(HOST, first="POST http:///hot HTTP/1.1"),
    "a relative target": raw_post(HOST, first="POST hot HTTP/1.1"),
    "an asterisk": raw_post(HOST, first="POST * HTTP/1.1"),
    "no target": raw_post(HOST, first="POST HTTP/1.1"),
    "HTTP/0.9": b"GET /hot\r\n\r\n",
    "another protocol": raw_post(HOST, first="POST /hot RTSP/1.1"),
    "lower case": raw_post(HOST, first="POST /hot http/1.1"),
    "a long version": raw_post(HOST, first="POST /hot HTTP/1.10"),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a long word": b"A" * 100,
    "a chunk size that is none": chunked(b"x\r\nhello\r\n0\r\n\r\n"),
    "an empty chunk size": chunked(b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with 0x": chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a signed chunk size": chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "a negative chunk size": chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with an underscore": chunked(b"0_5\r\nhello\r\n0\r\n\r\n"),
    "an endless chunk size": chunked(b"0" * 17 + b"5\r\nhello\r\n0\r\n\r\n"),
    "a space before a chunk size": chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
    "a space after a chunk size": chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "an LF after a chunk size": chunked(b"5\nhello\r\n0\r\n\r\n"),
    "a CR after a chunk size": chunked(b"5\rhello\r\n0\r\n\r\n"),
    "an LF in a chunk extension": chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "a chunk extension that is none": chunked(b"5; a b\r\nhello\r\n0\r\n\r\n"),
    "a chunk extension without a name": chunked(b"5;\r\nhello\r\n0\r\n\r\n"),
    "a chunk extension that is not closed": chunked(b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    "a NUL in a chunk extension": chunked(b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "an LF after a chunk": chunked(b"5\r\nhello\n0\r\n\r\n"),
    "a longer chunk": chunked(b"5\r\nhello!\r\n0\r\n\r\n"),
    "a shorter chunk": chunked(b"5\r\nhell\r\n0\r\n\r\n"),
    "an LF after the last chunk": chunked(b"5\r\nhello\r\n0\n\r\n"),
    "an LF after the trailers": chunked(b"5\r\nhello\r\n0\r\nX: a\n\r\n"),
    "a folded trailer": chunked(b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "a trailer without a colon": chunked(b"5\r\nhello\r\n0\r\nX\r\n\r\n"),
    "a length in the trailers": chunked(b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "a trailer with a NUL": chunked(b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n"),
}


async def refusal_of(client: Client) -> tuple[int, str]:
    answer = await client.answer()
    assert answer.headers["connection"] == "close"
    client.writer.close()
    return answer.status, answer.json()[0]


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_what_could_be_read_in_two_ways_is_refused(sent: bytes) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(sent + SMUGGLED)

        assert await refusal_of(client) == (400, "bad_request")
        assert await client.rest() == b""
        assert site.requests == []
        assert site.server.counters.refused == {"bad_request": 1}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_it_is_refused_in_pieces_too(sent: bytes) -> None:
    async with a_site(header_s=0.05, body_s=0.05) as site:
        for cut in (7, 60):
            async with a_client(site) as client:
                client.send(sent[:cut])
                await asyncio.sleep(0.002)
                client.send(sent[cut:])

                assert (await refusal_of(client))[0] in (400, 408)  # some would have gone on
        assert site.requests == []


@pytest.mark.parametrize(
    "name", [name for name in AMBIGUOUS if "chunk" not in name and "trailer" not in name]
)
async def test_cold_requests_are_refused_for_the_same_heads(name: str) -> None:
    sent = AMBIGUOUS[name].replace(b"/hot", b"/cold")
    async with a_site() as site, a_client(site) as client:
        client.send(sent + SMUGGLED)

        assert (await refusal_of(client))[0] == 400
        assert not site.cold
        assert not site.requests


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (raw_post(HOST, first="POST /hot HTTP/2.0"), (505, "version")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505, "version")),
        (raw_post(HOST, first="POST /hot HTTP/1.2"), (505, "version")),
        (raw_post(HOST, first="CONNECT example.com:443 HTTP/1.1"), (501, "not_implemented")),
        (raw_post(HOST, "Expect: 200-ok", "Content-Length: 3"), (417, "expectation")),
        (raw_post(HOST, "Expect: 200-ok"), (417, "expectation")),
        (raw_post(HOST, *["X: y"] * 10), (431, "too_many_headers")),
        (raw_post(HOST, *[f"X{n}: y" for n in range(10)]), (431, "too_many_headers")),
        (raw_post(HOST, "X: " + "y" * 1000), (431, "headers_too_large")),
        (raw_post(HOST, first="GET /cold/" + "y" * 1000 + " HTTP/1.1"), (431, "headers_too_large")),
        (b"GET /cold/" + b"y" * 1000, (431, "headers_too_large")),
        (post(body=b"x" * 101), (413, "too_large")),
        (raw_post(HOST, "Content-Length: 999999999999999999"), (413, "too_large")),
        (raw_post(HOST, "Content-Length: 101", "Expect: 100-continue"), (413, "too_large")),
        (chunked(b"65\r\n"), (413, "too_large")),
        (chunked(b"ffffffffffffffff\r\n"), (413, "too_large")),
        (chunked(b"64\r\n" + b"x" * 100 + b"\r\n1\r\n"), (413, "too_large")),
        (chunked(b"0\r\n" + b"X: y\r\n" * 200), (431, "headers_too_large")),
        (chunked(b"0\r\nX: " + b"y" * 1000), (431, "headers_too_large")),
        (chunked(b"1;" + b"y" * 2000), (400, "bad_request")),
    ],
)
async def test_limits_have_their_own_refusals(sent: bytes, refusal: tuple[int, str]) -> None:
    limits: Any = {"max_header_bytes": 500, "max_headers": 10, "max_body_bytes": 100}
    async with a_site(**limits) as site, a_client(site) as client:
        client.send(sent)

        assert await refusal_of(client) == refusal
        assert await client.rest() == b""
        assert site.requests == []


async def test_what_is_just_within_the_limits_is_served() -> None:
    limits: Any = {"max_header_bytes": 500, "max_headers": 10, "max_body_bytes": 100}
    async with a_site(**limits) as site, a_client(site) as client:
        head = raw_post(HOST, "X: ")[:-4]
        client.send(raw_post(HOST, "X: " + "y" * (500 - len(head))))
        client.send(raw_post(HOST, *["X: y"] * 9))
        client.send(post(body=b"x" * 100))
        client.send(chunked(b"63\r\n" + b"x" * 99 + b"\r\n1\r\nx\r\n0\r\n\r\n"))

        assert [(await client.answer()).status for _ in range(4)] == [200] * 4


async def test_crumbs_of_a_body_are_refused_when_they_are_many() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(chunked(b"1\r\nx\r\n" * 6000))

        assert await refusal_of(client) == (400, "bad_request")


async def test_extensions_of_chunks_are_bounded_in_all() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(chunked((b"1;" + b"y" * 1000 + b"\r\nx\r\n") * 20))

        assert await refusal_of(client) == (400, "bad_request")


@pytest.mark.parametrize("tail", [post(body=b"late")[-4:], b"4\r\nlate\r\n0\r\n\r\n"])
async def test_a_client_that_asks_is_told_to_go_on(tail: bytes) -> None:
    framing = "Content-Length: 4" if tail == b"late" else "Transfer-Encoding: chunked"
    async with a_site() as site, a_client(site) as client:
        for _ in range(2):
            client.send(raw_post(HOST, framing, "Expect: 100-Continue"))
            assert (await client.answer()).status == 100
            client.send(tail)
            assert (await client.answer()).json()["body"] == "late"


async def test_a_client_that_does_not_wait_is_not_told_to_go_on() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot", b"now", "Expect: 100-continue"))
        client.send(raw_post(HOST, "Expect: 100-continue"))
        client.send(
            post("/hot", b"old", "Expect: 100-continue", "Connection: keep-alive", version="1.0")
        )

        bodies = [(await client.answer()).json()["body"] for _ in range(3)]
        assert bodies == ["now", "", "old"]


async def test_an_expectation_of_a_cold_request_is_met_by_aiohttp() -> None:
    async with a_site() as site, a_client(site) as client:
        first = "POST /cold HTTP/1.1"
        client.send(raw_post(HOST, "Content-Length: 4", "Expect: 100-continue", first=first))
        assert (await client.answer()).status == 100
        client.send(b"late")

        assert (await client.answer()).json()["body"] == "late"


async def test_a_refusal_can_be_read_by_a_client_that_is_still_sending() -> None:
    async with a_site(max_body_bytes=1_000_000) as site, a_client(site) as client:
        client.send(post(body=b"x" * 1_900_000))

        assert await refusal_of(client) == (413, "too_large")


async def test_a_client_that_never_stops_sending_is_cut_off() -> None:
    async with a_site(max_body_bytes=1000) as site, a_client(site) as client:
        client.send(raw_post(HOST, "Content-Length: 99999999"))
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(10):
                while True:
                    client.send(b"x" * 100_000)
                    await client.writer.drain()
        assert site.server.counters.connections == 0


async def test_a_refusal_comes_after_the_answers_before_it() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/soon") + post("/hot/stream") + AMBIGUOUS["two lengths"])

        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await client.rest() == b""


async def test_a_route_that_raises_is_answered_500(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site() as site, a_client(site) as client:
        monkeypatch.setattr(site, "route", lambda method, path: 1 / 0)
        client.send(GET_COLD)

        assert await refusal_of(client) == (500, "internal")
        assert "ZeroDivisionError" in caplog.text


async def test_a_refusal_that_cannot_be_made_is_an_empty_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site() as site, a_client(site) as client:
        monkeypatch.setattr(site.server._core, "_refuse", lambda refusal: 1 / 0)
        client.send(b"\0\r\n\r\n")
        answer = await client.answer()

        assert (answer.status, answer.body) == (400, b"")
        assert "ZeroDivisionError" in caplog.text


async def test_connections_above_the_limit_are_refused_and_those_handed_over_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_site(max_connections=2) as site, a_client(site) as first:
        waiting = asyncio.Event()
        monkeypatch.setattr(site, "on_cold", lambda request: waiting.wait())
        first.send(GET_COLD)
        await until(lambda: site.server.counters.handed_over)
        async with a_client(site) as second, a_client(site) as third:
            second.send(post())
            assert (await second.answer()).status == 200
            assert await refusal_of(third) == (503, "too_many_connections")
        first.writer.transport.abort()
        await until(lambda: not site.server.counters.connections)
        await until(lambda: not site.server._core.elsewhere)
        async with a_client(site) as fourth:
            fourth.send(post())
            assert (await fourth.answer()).status == 200


async def test_connections_of_one_address_above_its_limit_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_site(max_per_address=2) as site, a_client(site) as first:
        waiting = asyncio.Event()
        monkeypatch.setattr(site, "on_cold", lambda request: waiting.wait())
        first.send(GET_COLD)
        await until(lambda: site.server.counters.handed_over)
        async with a_client(site), a_client(site) as third:
            assert await refusal_of(third) == (429, "too_many_of_address")
        await until(lambda: not site.server.counters.connections)
        async with a_client(site) as fourth:
            fourth.send(post())
            assert (await fourth.answer()).status == 200
        first.writer.transport.abort()
        await until(lambda: not site.server._core.elsewhere)

        assert repr(site.server._core.held) == "<Holders 0>"
