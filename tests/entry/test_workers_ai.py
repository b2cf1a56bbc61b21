"""Workers AI's front over real sockets: envelopes, events, errors, and clients that leave."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from libs.common.catalog import Timeouts
from libs.common.envelope import TimeBounds
from libs.common.errors import ModelFailed, OutOfCapacity, StreamLost, Unavailable
from libs.common.request_ids import shard_of
from services.entry import limits
from tests.entry.asking import AUTH, RUN, ask, posting
from tests.entry.fakes import (
    ACCOUNT,
    BLOCKED_SECRET,
    EXPIRED_SECRET,
    OTHER_SECRET,
    SECRET,
    TEXT,
    TEXT_MODEL,
    VECTORS,
    FakeServer,
    listening,
    says,
    small_world,
    vectors,
)
from tests.fakes import put

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENCODED = TEXT.replace("/", "%2F")


@pytest.mark.parametrize(
    "name",
    [TEXT, ENCODED, ENCODED.replace("2F", "2f"), ENCODED.replace("@", "%40"), "demo"],
    ids=["raw", "encoded", "lower case", "all encoded", "alias"],
)
async def test_a_model_is_run_however_its_name_is_written(name: str) -> None:
    server = FakeServer(says("ho", "stop"))

    asked = await ask(server, RUN.replace(TEXT, name), json={"prompt": "hi"})

    assert asked.status == 200
    assert asked.headers["Content-Type"].startswith("application/json")
    assert asked.json == {
        "result": {"response": "ho", "finish_reason": "stop", "usage": USAGE},
        "success": True,
        "errors": [],
        "messages": [],
    }
    assert server.requests[0].request_id == asked.headers["x-constellation-request-id"]


async def test_vectors_are_answered() -> None:
    path = RUN.replace(TEXT, VECTORS)

    asked = await ask(FakeServer(vectors([1, 0.5], [2, 0.25])), path, json={"text": ["a", "b"]})

    data = [[1.0, 0.5], [2.0, 0.25]]
    assert asked.json["result"] == {"shape": [2, 2], "data": data, "pooling": "mean"}


async def test_a_form_content_type_is_still_json_as_curl_sends_it() -> None:
    headers = AUTH | {"Content-Type": "application/x-www-form-urlencoded"}

    asked = await ask(FakeServer(says("ho")), json={"prompt": "hi"}, headers=headers)

    assert asked.status == 200


async def test_headers_say_who_asks_and_how_long_it_may_take() -> None:
    server = FakeServer(says("ho"))
    headers = {
        "X-Auth-Key": SECRET,
        "x-request-id": "mine-1",
        "x-session-affinity": "abc",
        "x-stainless-read-timeout": "5",
        "x-stainless-retry-count": "2",
        "traceparent": TRACE,
        "tracestate": "a=1",
    }

    asked = await ask(server, f"{RUN}?rejectIfBusy=true", json={"prompt": "hi"}, headers=headers)

    (sent,) = server.requests
    assert asked.headers["x-request-id"] == sent.client_request_id == "mine-1"
    assert (sent.session, sent.retry_count) == ("abc", 2)
    assert (sent.traceparent, sent.tracestate) == (TRACE, "a=1")
    assert 4_900 <= sent.time_bounds.first_part_ms <= 5_000
    assert sent.time_bounds.idle_ms == 5_000
    assert sent.time_bounds.total_ms > 500_000
    assert sent.reject_if_busy


async def test_headers_are_options_the_query_stands_before_them_and_the_body_before_it() -> None:
    server = FakeServer(says("ho"))
    headers = AUTH | {
        "x-constellation-reject-if-busy": "true",
        "x-constellation-background": "true",
        "x-constellation-cost": "2",
        "x-constellation-max-queue-ms": "5",
        "X-Constellation-First-Part-Ms": "700",
        "x-stainless-read-timeout": "9",
    }
    body = {"prompt": "hi", "options": {"maxQueueMs": 7, "sessionAffinity": "s"}}

    await ask(server, f"{RUN}?cost=3&maxQueueMs=6", json=body, headers=headers)

    (sent,) = server.requests
    assert (sent.reject_if_busy, sent.background, sent.cost, sent.max_queue_ms) == (
        True,
        True,
        3,
        7,
    )
    assert sent.session == "s"
    assert sent.time_bounds == TimeBounds(first_part_ms=700, idle_ms=9_000, total_ms=600_000)


async def test_a_bad_option_in_a_header_is_named() -> None:
    asked = await ask(FakeServer(), json=GOOD, headers=AUTH | {"x-constellation-cost": "many"})

    assert asked.status == 400
    assert asked.json["errors"][0]["source"] == {"pointer": "/options/cost"}


@pytest.mark.parametrize("name", ["a" * 65, "a b", "<x>"])
async def test_a_request_id_that_may_not_be_echoed_is_ignored(name: str) -> None:
    server = FakeServer(says("ho"))

    asked = await ask(server, json={"prompt": "hi"}, headers=AUTH | {"x-request-id": name})

    assert "x-request-id" not in asked.headers
    assert server.requests[0].client_request_id == ""


GOOD = {"prompt": "hi"}
WRONG: dict[str, tuple[dict[str, Any], int, int]] = {
    "no token": ({"headers": {}, "json": GOOD}, 401, 10000),
    "unknown token": ({"headers": {"Authorization": "Bearer x"}, "json": GOOD}, 401, 10000),
    "expired": ({"headers": {"X-Auth-Key": EXPIRED_SECRET}, "json": GOOD}, 401, 10000),
    "another's token": ({"headers": {"X-Auth-Key": OTHER_SECRET}, "json": GOOD}, 403, 10001),
    "blocked": (
        {
            "path": RUN.replace(ACCOUNT, "b" * 32),
            "headers": {"X-Auth-Key": BLOCKED_SECRET},
            "json": GOOD,
        },
        403,
        3023,
    ),
    "unknown model": ({"path": RUN + "x", "json": GOOD}, 400, 5007),
    "bad field": ({"json": GOOD | {"max_tokens": 900}}, 400, 5006),
    "empty body": ({"data": b""}, 400, 5006),
    "no json": ({"data": b'{"prompt": '}, 400, 5006),
    "no object": ({"data": b"[1]"}, 400, 5006),
    "no utf-8": ({"data": b'{"prompt": "\xff"}'}, 400, 5006),
    "deep": ({"data": b'{"prompt":' + b"[" * 100_000}, 400, 5006),
    "broken gzip": (
        {"data": b"no gzip", "headers": AUTH | {"Content-Encoding": "gzip"}},
        400,
        5006,
    ),
    "brotli": ({"data": b"x", "headers": AUTH | {"Content-Encoding": "br"}}, 400, 5006),
    "zstandard": ({"data": b"x", "headers": AUTH | {"Content-Encoding": "ZSTD"}}, 400, 5006),
    "half a gzip": (
        {"data": gzip.compress(b"{}")[:-9], "headers": AUTH | {"Content-Encoding": "gzip"}},
        400,
        5006,
    ),
    "too large when read": (
        {
            "data": gzip.compress(b'{"prompt": "' + b"x" * 3000 + b'"}'),
            "headers": AUTH | {"Content-Encoding": "gzip"},
            "max_body_bytes": 2000,
        },
        413,
        3006,
    ),
    "deep field": ({"data": b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}"}, 400, 5006),
    "30 digits": ({"path": f"{RUN}?maxQueueMs={'9' * 30}", "json": GOOD}, 400, 5006),
    "100 digits": ({"path": f"{RUN}?priority={'9' * 100}", "json": GOOD}, 400, 5006),
    "5000 digits": ({"path": f"{RUN}?priority={'9' * 5000}", "json": GOOD}, 400, 5006),
    "model of two lines": ({"path": RUN + "%0a", "json": GOOD}, 400, 5007),
    "route of two lines": ({"path": "/client%0Av4", "json": GOOD}, 404, 7000),
    "too large": ({"data": b'"' + b"x" * 3000 + b'"', "max_body_bytes": 2000}, 413, 3006),
    "lora of nobody": ({"json": GOOD | {"lora": "nope"}}, 400, 5006),
    "lora unsupported": (
        {"path": RUN.replace(TEXT, VECTORS), "json": {"text": "a", "lora": "pirate"}},
        405,
        5005,
    ),
    "wrong method": ({"method": "GET"}, 405, 7002),
    "unknown route": ({"path": "/client/v4/nothing", "json": GOOD}, 404, 7000),
    "no model": ({"path": RUN.removesuffix(TEXT), "json": GOOD}, 404, 7000),
}


@pytest.mark.parametrize(("request_", "status", "code"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_is_answered_in_the_envelope(
    request_: dict[str, Any], status: int, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = FakeServer(says("ho"))

    asked = await ask(server, **request_)

    assert asked.status == status, asked.body
    body = asked.json
    (error,) = body["errors"]
    assert (body["success"], body["result"], error["code"]) == (False, None, code)
    assert error["message"].startswith(f"AiError: {code}: ")
    assert body["error"]["message"] == error["message"]
    assert body["error"]["code"] == error["reason"]
    assert not server.requests
    assert not caplog.records


@pytest.mark.parametrize("headers", [{}, AUTH], ids=["no token", "bad input"])
async def test_a_refused_request_has_an_id(headers: dict[str, str]) -> None:
    asked = await ask(FakeServer(), json={"prompt": 1}, headers=headers)

    assert shard_of(asked.headers["x-constellation-request-id"]) == 0


@pytest.mark.parametrize(
    ("retries", "taken"), [("0002", 2), ("101", 100), ("9" * 5000, 100), ("²", 0)]
)
async def test_the_retries_are_a_small_number(retries: str, taken: int) -> None:
    server = FakeServer(says("ho"))

    await ask(server, json=GOOD, headers=AUTH | {"x-stainless-retry-count": retries})

    assert server.requests[0].retry_count == taken


async def test_headers_that_are_no_text_are_dropped() -> None:
    server = FakeServer(says("ho"))
    names = (b"x-session-affinity", b"traceparent", b"Idempotency-Key")
    names += (b"x-constellation-preferred-colo",)
    headers = b"".join(b"%s: \xff\xfe\r\n" % name for name in names)
    async with (
        listening(server) as bound,
        posting(bound.http, orjson.dumps(GOOD), headers) as reader,
    ):
        assert b" 200 " in await reader.readline()

    (sent,) = server.requests
    assert (sent.session, sent.traceparent, sent.idempotency_key) == ("", "", "")


async def test_the_error_names_field_and_position() -> None:
    bad_field = await ask(FakeServer(), json=GOOD | {"max_tokens": 900})
    bad_json = await ask(FakeServer(), data=b'{"prompt": "a",\n "x": }')

    assert bad_field.json["errors"][0]["source"] == {"pointer": "/max_tokens"}
    assert bad_field.json["error"]["param"] == "max_tokens"
    assert "max_tokens: 900 is greater than the maximum of 512" in bad_field.body.decode()
    assert "line 2 column 7" in bad_json.json["errors"][0]["message"]
    wrong_method = await ask(FakeServer(), method="DELETE")
    assert wrong_method.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (
            OutOfCapacity("full", retry_after_ms=2500),
            429,
            {"Retry-After": "3", "retry-after-ms": "2500"},
        ),
        (OutOfCapacity("full"), 429, {"Retry-After": "1", "retry-after-ms": "1000"}),
        (Unavailable("gone", retry_after_ms=999_000), 503, {"Retry-After": "60"}),
        (ModelFailed("oops"), 500, {}),
    ],
    ids=["full", "full, no idea for how long", "unavailable", "failed"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_what_went_wrong_at_the_model_has_its_status(
    error: Exception, status: int, headers: dict[str, str], stream: bool
) -> None:
    asked = await ask(FakeServer(error), json=GOOD | {"stream": stream})

    assert asked.status == status
    assert headers.items() <= dict(asked.headers).items()
    assert ("Retry-After" in asked.headers) == (status in (429, 503))
    assert asked.headers["x-constellation-request-id"]


async def test_a_timeout_is_not_to_be_tried_again() -> None:
    headers = AUTH | {"x-stainless-read-timeout": "0.02"}

    asked = await ask(FakeServer(asyncio.Event()), json=GOOD, headers=headers)

    assert (asked.status, asked.json["errors"][0]["code"]) == (408, 3007)
    assert asked.headers["x-should-retry"] == "false"


async def test_a_bug_is_logged_once_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    asked = await ask(FakeServer(ZeroDivisionError("a secret")), json=GOOD)

    assert (asked.status, asked.json["errors"][0]["code"]) == (500, 3046)
    assert b"a secret" not in asked.body
    (record,) = caplog.records
    assert record.exc_info


async def test_a_stream_is_frames_with_padding_then_usage_then_done() -> None:
    asked = await ask(FakeServer(says("a"), says("b", "stop")), json=GOOD | {"stream": True})

    assert asked.headers["Content-Type"] == "text/event-stream"
    assert asked.headers["x-constellation-request-id"]
    *tokens, last = asked.frames
    assert [(each["response"], bool(each["p"])) for each in tokens] == [("a", True), ("b", True)]
    assert last == {"response": "", "usage": USAGE}


@pytest.mark.parametrize(
    ("error", "code"),
    [(StreamLost("the stream broke"), 3045), (ZeroDivisionError("a secret"), 3046)],
    ids=["lost", "bug"],
)
async def test_a_stream_that_breaks_says_so_and_is_done(error: Exception, code: int) -> None:
    stream = GOOD | {"stream": True}
    asked = await ask(FakeServer(says("a"), error), json=stream, continue_times=0)

    assert asked.status == 200
    first, last = asked.frames
    assert first["response"] == "a"
    assert last["errors"][0]["code"] == code
    assert "secret" not in last["error"]["message"]


def asking(address: str, body: dict[str, Any]) -> AbstractAsyncContextManager[asyncio.StreamReader]:
    """Ask by hand, and hang up on leaving."""
    return posting(address, orjson.dumps(body))


@pytest.mark.parametrize(
    ("parts", "stream", "after"),
    [([], False, b""), ([], True, b""), ([says("a")], True, b'"response":"a"')],
    ids=["unary", "before the first part", "in the middle of a stream"],
)
async def test_a_client_that_leaves_stops_the_model(
    parts: list[bytes], stream: bool, after: bytes
) -> None:
    server = FakeServer(*parts, asyncio.Event())
    async with listening(server) as bound, asyncio.timeout(5):
        async with asking(bound.http, GOOD | {"stream": stream}) as reader:
            await (reader.readuntil(after) if after else server.reached.wait())

        await server.cancelled.wait()


async def test_a_client_that_leaves_a_running_stream_stops_the_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Endless(FakeServer):
        async def _play(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)
                yield says("a" * 1000)

    server = Endless()
    async with listening(server) as bound, asyncio.timeout(5):
        async with asking(bound.http, GOOD | {"stream": True}) as reader:
            await reader.readuntil(b"data: ")

        await server.cancelled.wait()

    assert not caplog.records


async def test_a_reader_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLOW_READER_S", 0.1)
    world, server = small_world("ams"), FakeServer(*[says("a" * 1_000_000)] * 100)
    put(world, replace(TEXT_MODEL, timeouts=Timeouts(total_s=0.2)))
    async with (
        listening(server, world=world) as bound,
        asyncio.timeout(5),
        asking(bound.http, GOOD | {"stream": True}),
    ):
        await server.cancelled.wait()


async def test_nobody_serves_the_model() -> None:
    asked = await ask(FakeServer(), json=GOOD, world=small_world())

    assert (asked.status, asked.json["errors"][0]["code"]) == (503, 3043)
    assert asked.headers["Retry-After"] == "2"
