"""Whatever comes: no exception, no growth, and no request that another parser would not see.

Requests are cut into tokens, which are swapped, repeated and spoilt, and fed to a connection over
a transport of the test's own; then httptools reads the same bytes. A longer run:

    HTTP1_FUZZ_SECONDS=600 pytest tests/http1/test_fuzz.py
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http1.bench import Bench

SECONDS = float(os.environ.get("HTTP1_FUZZ_SECONDS", "0"))


class Oracle:
    """What llhttp makes of the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.seen: list[tuple[str, bytes, list[tuple[bytes, bytes]], bytes]] = []
        parser = self.parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return

    def on_message_begin(self) -> None:
        self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.head = self.headers  # what comes later are trailers
        self.headers = []

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        self.seen.append((method, self.url, self.head, self.body))


def check_against_oracle(bench: Bench) -> None:
    seen = Oracle(bench.sent).seen
    for number, request in enumerate(bench.requests):
        if request.headers.get("connection", "").lower().find("upgrade") >= 0:
            return  # llhttp stops there, and we do not
        assert number < len(seen), "a request that llhttp does not see"
        method, target, headers, body = seen[number]
        joined: dict[str, str] = {}
        for name, value in headers:
            key, text = name.decode().lower(), value.decode("utf-8", "surrogateescape").strip(" \t")
            joined[key] = f"{joined[key]}, {text}" if key in joined else text
        assert request.method == method
        assert request.target.encode("utf-8", "surrogateescape") == target
        assert request.headers == joined
        assert request.body == body


TOKENS = [
    *(
        b"POST",
        b"GET",
        b"PUT",
        b"HEAD",
        b" ",
        b" ",
        b"/a",
        b"/w",
        b"/s",
        b"/r",
        b"/c",
        b"/w?x=%20#",
    ),
    *(b"http://h/a", b"*", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"Host: x\r\n"),
    *(b"Host:\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 301\r\n"),
    *(b"Content-Length: 5, 5\r\n", b"content-length:05\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"transfer-encoding:\tCHUNKED \r\n", b"Transfer-Encoding: x, chunked\r\n", b"X: y\r\n"),
    *(b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Connection: close\r\n", b"Upgrade: x\r\n"),
    *(b"Connection: keep-alive\r\n", b"Connection: upgrade\r\n", b" folded\r\n", b"X : y\r\n"),
    *(
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b":",
        b"\t",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
    ),
    *(
        b"5;a=b\r\n",
        b'1;a="\\"";b\r\nx\r\n',
        b"1;\r\nx\r\n",
        b"5 \r\n",
        b"05\r\nhello\r\n",
        b"5\nhello\n",
        b"ffffffffffffffff\r\n",
        b"hello",
    ),
    *(b"X: \xff\xc3\xbc\r\n", b"X: " + b"y" * 300 + b"\r\n", b"Trailer: a\r\n", b"\r\n\r\n"),
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /w HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n",
]
ACTS = ("run", "run", "answer", "pause", "resume", "expire", "eof")
PATHS = [b"/a", b"/a", b"/w", b"/w?x=%20", b"/s", b"/r", b"http://h/a"]
LINES = [b"X: y", b"x:\t z ", b"X: \xff\xc3\xbc", b"Expect: 100-continue", b"A-B: c", b"X:"]
BODIES = [
    b"\r\n",
    b"Content-Length: 5\r\n\r\nhello",
    b"content-length:\t0 \r\n\r\n",
    b"Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0a\r\n0123456789\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n1\r\n\r\r\n0\r\nTrailer: x\r\n\r\n",
    b"Content-Length: 290\r\n\r\n" + b"\r\n\r\nx" * 58,
]


def message(path: bytes, lines: list[bytes], body: bytes, empty: bytes) -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"%bPOST %b HTTP/1.1\r\nHost: x\r\n%b%b" % (empty, path, head, body)


def mutated(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Cut out a few bytes here and there, and put others in."""
    for where, less, more in changes:
        at = where % (len(data) + 1)
        data = data[:at] + more + data[at + less :]
    return data


messages = st.builds(
    message,
    st.sampled_from(PATHS),
    st.lists(st.sampled_from(LINES), max_size=3),
    st.sampled_from(BODIES),
    st.sampled_from([b"", b"", b"", b"\r\n"]),
)
change = st.tuples(
    st.integers(0, 2000), st.integers(0, 4), st.sampled_from(TOKENS) | st.binary(max_size=3)
)
streams = st.builds(
    mutated,
    st.lists(messages, min_size=1, max_size=5).map(b"".join),
    st.lists(change, max_size=2),
) | st.lists(st.sampled_from(TOKENS) | st.binary(max_size=6), max_size=12).map(b"".join)
cuts = st.lists(st.integers(0, 400), max_size=8)
acts = st.lists(st.sampled_from(ACTS), max_size=8)


def play(bench: Bench, data: bytes, cut: list[int], what: list[str]) -> None:
    """Feed the data in pieces, and do something after each."""
    bench.begin()
    at = 0
    for number, size in enumerate([*cut, len(data)]):
        bench.feed(data[at : at + size])
        at += size
        bench.check()
        if number < len(what):
            bench.act(what[number])
            bench.check()
    for act in what[len(cut) + 1 :]:
        bench.act(act)
    bench.end()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the broken handler raises is logged, at great length."""
    caplog.set_level(logging.CRITICAL, "libs.http1")


def run_for(seconds: float, examples: int, test: Callable[..., None], **of: Any) -> None:
    """Run a property once, or over and over for so many seconds."""
    quiet = settings(
        max_examples=examples,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    until = time.monotonic() + seconds
    while True:
        quiet(given(**of)(test))()
        if time.monotonic() >= until:
            return


@pytest.mark.timeout(SECONDS + 60)
def test_no_bytes_and_no_schedule_break_a_connection() -> None:
    bench = Bench()

    def holds(data: bytes, cut: list[int], what: list[str]) -> None:
        play(bench, data, cut, what)

    run_for(SECONDS / 2, 300, holds, data=streams, cut=cuts, what=acts)


@pytest.mark.timeout(SECONDS + 60)
def test_every_request_is_one_that_llhttp_sees_too() -> None:
    bench = Bench()

    def holds(data: bytes, cut: list[int]) -> None:
        play(bench, data, cut, ["run", "answer"] * 10)
        check_against_oracle(bench)

    run_for(SECONDS / 2, 300, holds, data=streams, cut=cuts)
