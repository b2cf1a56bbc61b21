"""Requests arrive as they were sent, however they are cut, and cold ones reach aiohttp whole."""

import asyncio
import http.client
import shutil
import subprocess
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from libs.http1.targets import decoded_path
from tests.http1.support import GET_COLD, a_client, a_site, post, raw_post
from tests.waiting import until

CHUNKED = raw_post(
    "Host: x",
    "Transfer-Encoding: chunked",
    body=b'3;a=b;c;d="e \\";"\r\nhel\r\n02 \r\n'.replace(b"02 ", b"02")
    + b"lo\r\n0\r\nTrailer: x\r\n\r\n",
)


async def test_a_request_reaches_its_handler_whole() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot/a%20b?x=%20&y", b"hello", "X-One: 1", "x-one:  2\t", "X-U: \u00fc"))
        answer = await client.answer()

        assert answer.status == 200
        told = answer.json()
        assert told["method"] == "POST"
        assert told["target"] == "/hot/a%20b?x=%20&y"
        assert (told["path"], told["query"], told["body"]) == ("/hot/a b", "x=%20&y", "hello")
        assert told["headers"] == {
            "host": "x",
            "content-length": "5",
            "x-one": "1, 2",
            "x-u": "\u00fc",
        }
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["date"].endswith(" GMT")
        assert "server" not in answer.headers
        assert "connection" not in answer.headers


async def test_bytes_that_are_no_text_survive_in_headers() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(b"POST /hot HTTP/1.1\r\nHost: x\r\nX-Raw: \xff\xfe\r\n\r\n")
        await client.answer()

        assert site.requests[0].headers["x-raw"].encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize("sent", [post(body=b"hello"), CHUNKED], ids=["sized", "chunked"])
async def test_a_request_may_be_cut_at_every_byte(sent: bytes) -> None:
    async with a_site() as site, a_client(site) as client:
        for cut in range(1, len(sent)):
            client.send(sent[:cut])
            await asyncio.sleep(0.001)
            client.send(sent[cut:])

            assert (await client.answer()).json()["body"] == "hello"
        assert site.server.counters.requests == len(sent) - 1
        assert site.server.counters.accepted == 1


async def test_a_request_may_come_byte_by_byte() -> None:
    async with a_site() as site, a_client(site) as client:
        for sent in (b"\r\n" + post(), CHUNKED, GET_COLD):
            for byte in sent:
                client.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.answer()).status == 200
        assert site.cold == ["/cold"]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with a_site() as site, a_client(site) as client:
        paths = ["/hot/soon", "/hot/echo", "/hot/stream", "/hot/soon", "/hot/raise", "/hot/echo"]
        client.send(b"\r\n".join(post(path, b"b%d" % n) for n, path in enumerate(paths)))
        bodies = [(await client.answer()).body for _ in paths]

        assert bodies[0] == b"b0"
        assert b'"b1"' in bodies[1]
        assert bodies[2] == b"onetwothree"
        assert bodies[3] == b"b3"
        assert b"internal" in bodies[4]
        assert b'"b5"' in bodies[5]


@pytest.mark.parametrize("hot", ["/hot/soon", "/hot/echo", "/hot/stream"])
async def test_a_cold_request_behind_hot_ones_is_answered_by_aiohttp_after_them(hot: str) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post(hot) + CHUNKED + post(hot) + post("/cold?a=%20b", b"x" * 100) + GET_COLD)
        answers = [await client.answer() for _ in range(4)]

        assert answers[3].json() == {"cold": "/cold?a=%20b", "method": "POST", "body": "x" * 100}
        assert answers[3].headers["connection"] == "close"
        assert await client.rest() == b""
        assert site.cold == ["/cold"]
        assert site.server.counters.handed_over == 1
        assert site.server.counters.connections == 0


async def test_a_cold_body_that_comes_later_reaches_aiohttp() -> None:
    async with a_site() as site, a_client(site) as client:
        sent = post("/cold", b"y" * 200_000)
        client.send(sent[:100])
        await asyncio.sleep(0.02)
        client.send(sent[100:])

        assert len((await client.answer()).json()["body"]) == 200_000


async def test_more_pipelined_requests_than_fit_are_left_in_the_kernel_and_answered() -> None:
    async with a_site(max_pipelined=2) as site, a_client(site) as client:
        client.send(post("/hot/wait"))
        await until(lambda: site.responders)
        client.send(b"".join(post(body=b"%05d" % n) for n in range(3000)))
        await asyncio.sleep(0.1)
        connection = next(iter(site.server._core.connections))
        assert connection._rest is not None
        assert len(connection._rest) < 300_000
        site.responders[0].answer(204, [], b"")

        assert (await client.answer()).status == 204
        for n in range(3000):
            assert (await client.answer()).json()["body"] == f"{n:05}"


@pytest.mark.parametrize(
    ("sent", "stays"),
    [
        (post(), True),
        (post("/hot", b"", "Connection: close"), False),
        (post("/hot", b"", "Connection: foo, Close"), False),
        (post("/hot", b"", "Connection: foo", "Connection: close"), False),
        (post("/hot", b"", "Connection: keep-alive"), True),
        (post("/hot", b"", version="1.0"), False),
        (post("/hot", b"", "Connection: Keep-Alive", version="1.0"), True),
        (raw_post(first="POST /hot HTTP/1.0"), False),
        (post("/hot/soon", b"", "Connection: close"), False),
    ],
)
async def test_a_connection_is_kept_as_its_client_means_it(sent: bytes, stays: bool) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(sent)
        answer = await client.answer()
        old = b"HTTP/1.0" in sent

        assert answer.headers.get("connection") == (
            ("keep-alive" if old else None) if stays else "close"
        )
        if stays:
            client.send(post())
            assert (await client.answer()).status == 200
        else:
            assert await client.rest() == b""
            await until(lambda: not site.server.counters.connections)


async def test_a_connection_ends_after_its_last_request_and_says_so() -> None:
    async with a_site(max_requests=2) as site, a_client(site) as client:
        client.send(post() * 3)
        first, second = await client.answer(), await client.answer()

        assert "connection" not in first.headers
        assert second.headers["connection"] == "close"
        assert await client.rest() == b""


async def test_empty_lines_before_a_request_are_read_over() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(b"\r\n\r\n\r\n" + post() + b"\r\n")
        assert (await client.answer()).status == 200
        await asyncio.sleep(0.02)
        client.send(b"\r\n" + post())

        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://example.com/hot/a?b", "/hot/a", "b"),
        ("/hot/%E2%82%AC%FF%41?", "/hot/\u20ac%FFA", ""),
        ("/hot/%c3%bc%C3", "/hot/\u00fc%C3", ""),
        ("/hot/a%2Fb", "/hot/a/b", ""),
        ("/hot//x;y=1/..", "/hot//x;y=1/..", ""),
    ],
)
async def test_paths_are_read_as_aiohttp_reads_them(target: str, path: str, query: str) -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post(target))
        told = (await client.answer()).json()

        assert (told["target"], told["path"], told["query"]) == (target, path, query)


@given(st.text("%0123abcdefABCDEF/ü+ ~", max_size=40) | st.text(max_size=10).map(quote))
def test_decoding_agrees_with_yarl(path: str) -> None:
    assert decoded_path("/" + path) == URL.build(path="/" + path, encoded=True).path


async def test_head_and_options_are_never_hot() -> None:
    async with a_site() as site:
        for method in ("HEAD", "OPTIONS"):
            async with a_client(site) as client:
                client.send(f"{method} /hot HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await client.rest()
        async with a_client(site) as client:
            client.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.answer()

        assert site.cold == ["/hot", "/hot"]
        assert site.server.counters.handed_over == 3


async def test_a_hot_request_that_asks_for_an_upgrade_is_answered_as_if_it_did_not() -> None:
    async with a_site() as site, a_client(site) as client:
        client.send(post("/hot", b"hi", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c") * 2)

        assert [(await client.answer()).json()["body"] for _ in range(2)] == ["hi", "hi"]


async def test_aiohttps_client_is_served_hot_and_cold() -> None:
    async def chunks() -> object:
        yield b"x" * 70_000
        yield b"y"

    async with a_site() as site, aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as session:
        for _ in range(3):
            async with session.post("/hot", json={"a": 1}) as answer:
                assert (await answer.json())["body"] == '{"a": 1}'
            async with session.post("/hot", data=chunks()) as answer:
                assert len((await answer.json())["body"]) == 70_001
            async with session.post("/hot", data=b"e", expect100=True) as answer:
                assert (await answer.json())["body"] == "e"
            async with session.post("/cold", data=b"c") as answer:
                assert (await answer.json())["body"] == "c"
            async with session.post("/hot/stream") as answer:
                assert await answer.read() == b"onetwothree"


async def test_http_client_is_served_hot_and_cold() -> None:
    def ask(port: int) -> list[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        read = []
        for path in ("/hot/soon", "/hot/stream", "/cold", "/hot/soon"):
            connection.request("POST", path, body=b"b", headers={"Accept": "*/*"})
            read.append(connection.getresponse().read())
        connection.request("POST", "/hot/soon", body=iter([b"c", b"d"]), encode_chunked=True)
        read.append(connection.getresponse().read())
        connection.close()
        return read

    async with a_site() as site:
        soon, stream, cold, again, chunked = await asyncio.to_thread(ask, site.port)

        assert (soon, stream, again, chunked) == (b"b", b"onetwothree", b"b", b"cd")
        assert b'"method": "POST"' in cold


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_curl_is_served_with_a_large_body() -> None:
    def ask(port: int) -> bytes:
        url = f"http://127.0.0.1:{port}/hot/soon"
        command = [
            "curl",
            "-sS",
            "--max-time",
            "5",
            "--data-binary",
            "@-",
            url,
            "-H",
            "Expect: 100-continue",
        ]
        return subprocess.run(
            command, input=b"z" * 3_000_000, capture_output=True, check=True
        ).stdout

    async with a_site() as site:
        assert await asyncio.to_thread(ask, site.port) == b"z" * 3_000_000
