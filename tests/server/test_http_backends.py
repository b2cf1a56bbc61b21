"""The parts of the backend for OpenAI's API: events, errors, keys, tokens, and its connections."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Backend as BackendConfig
from libs.common.envelope import InferRequest
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelRefused,
    RequestError,
    Unavailable,
)
from services.server.backends.http_errors import error_in, error_of
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend, path_of
from services.server.backends.sse import EventReader, TooLong
from services.server.body_tokens import tokens_of
from services.server.endpoints import Endpoint
from services.server.errors import EndpointFull, InstanceLost
from services.server.tokens import TokenCounter, TokenReader
from tests.contract.models_behind import PARTS, OpenAiStage
from tests.contract.test_backend import endpoint, infer, streamed
from tests.fakes import a_model, a_request

# --- events


@given(
    events=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1)),
    cuts=st.lists(st.integers(1, 9), min_size=1),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_events_are_read_however_the_bytes_come(
    events: list[str], cuts: list[int], ending: str
) -> None:
    written = "".join(f": a comment{ending}data: {each}{ending}{ending}" for each in events)
    raw, reader, read = written.encode(), EventReader(1000), []
    while raw:
        size = cuts.pop(0) if cuts else len(raw)
        read += reader.feed(raw[:size])
        raw = raw[size:]

    assert [each.decode() for each in read] == events


def test_an_event_of_several_lines_is_one() -> None:
    assert EventReader(99).feed(b"event: x\ndata: a\ndata:b\n\n") == [b"a\nb"]


def test_an_event_without_an_end_is_not_kept() -> None:
    with pytest.raises(TooLong):
        EventReader(9).feed(b"data: 0123456789")
    with pytest.raises(TooLong):
        EventReader(9).feed(b"data: 01234\ndata: 56789\n")


# --- errors

VLLM = b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}'
OLD = b'{"object":"error","message":"too long","type":"BadRequestError","code":400}'
TGI = b'{"error":"too long","error_type":"validation"}'
FASTAPI = b'{"detail":"too long"}'


@pytest.mark.parametrize("body", [VLLM, OLD, TGI, FASTAPI, b"too long"])
def test_every_ones_words_are_found(body: bytes) -> None:
    assert str(error_of(422, body)) == "too long"


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [
        (400, ModelRefused, True),
        (401, ModelFailed, True),
        (404, Unavailable, False),
        (413, ModelRefused, True),
        (429, EndpointFull, False),
        (500, ModelFailed, True),
        (502, InstanceLost, True),
        (503, Unavailable, False),
        (504, DeadlineExceeded, True),
    ],
)
def test_a_status_has_a_meaning(status: int, kind: type[RequestError], sent: bool) -> None:
    error = error_of(status, b"")

    assert (type(error), error.sent) == (kind, sent)
    assert str(error)


def test_an_adapter_that_is_not_there_is_no_loss_of_the_endpoint() -> None:
    assert type(error_of(404, b"", adapter="pirate")) is ModelFailed


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (VLLM, ModelRefused),
        (OLD, ModelRefused),
        (TGI, ModelFailed),
        (b'{"error":{"message":"gone","code":"x"}}', ModelFailed),
        (b'{"error":{"message":"dead","code":503}}', Unavailable),
        (b'{"error":7', ModelFailed),
    ],
)
def test_an_event_may_be_an_error(event: bytes, kind: type[RequestError]) -> None:
    error = error_in(event)

    assert type(error) is kind
    assert error.sent


def test_text_about_errors_is_none() -> None:
    event = orjson.dumps({"choices": [{"delta": {"content": '{"error": "x"}'}}]})

    assert error_in(event) is None


# --- keys


def test_a_key_is_read_once_and_again_after_it_was_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("s3cret\n")
    keys = Keys(tmp_path)

    assert keys.headers("mine") == {"Authorization": "Bearer s3cret"}
    (tmp_path / "mine").write_text("newer")
    assert keys.headers("mine") == {"Authorization": "Bearer s3cret"}
    keys.forget("mine")
    assert keys.headers("mine") == {"Authorization": "Bearer newer"}
    assert "newer" not in repr(keys)


def test_a_key_that_is_not_there_is_told_by_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Keys(tmp_path).headers("mine") == {}
    assert Keys(None).headers("other") == {}
    assert Keys(None).headers("") == {}

    assert ["'mine'" in caplog.messages[0], "'other'" in caplog.messages[1]] == [True, True]


async def test_a_key_that_no_header_can_hold_is_told_and_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine").write_text("s3cret\nand more\n")
    backend = OpenAiBackend(keys=Keys(tmp_path))
    model = a_model(backend=BackendConfig(kind="openai_http", key="mine"))
    async with OpenAiStage().serving("127.0.0.1:0") as address:
        found = await backend.probe(endpoint(address), model, "server", timeout_s=2)
        await backend.flaw(endpoint(address), model)
    await backend.close()

    assert found is True
    assert [("'mine'" in each, "s3cret" in each) for each in caplog.messages] == [(True, False)]


# --- tokens

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"choices": [], "usage": USAGE}, (7, 3)),
        ({"data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, (5, 0)),
        ({"choices": [{"text": '"usage": {"prompt_tokens": 9}'}]}, (0, 4)),
        ({"choices": [], "usage": None}, (0, 4)),
    ],
    ids=["text", "vectors", "in a text", "null"],
)
def test_tokens_are_found_in_a_body(body: Any, tokens: tuple[int, int]) -> None:
    assert tokens_of(orjson.dumps(body), parts=4) == tokens
    assert tokens_of(orjson.dumps(body, option=orjson.OPT_INDENT_2), parts=4) == tokens


def test_a_stream_tells_its_tokens_last() -> None:
    backend = BackendConfig(kind="openai_http", dialect="vllm")
    counter = TokenCounter(TokenReader(a_model(backend=backend)))

    counter.see([b"{}", b"{}"])
    assert counter.totals() == (0, 2)
    counter.see([orjson.dumps({"choices": [], "usage": USAGE})])
    assert counter.totals() == (7, 3)


# --- connections


@pytest.fixture
async def backend() -> AsyncIterator[OpenAiBackend]:
    made = OpenAiBackend(keys=Keys(None))
    yield made
    await made.close()


async def test_one_connection_serves_call_after_call(backend: OpenAiBackend) -> None:
    stage = OpenAiStage()
    async with stage.serving("127.0.0.1:0") as address:
        for _ in range(3):
            await infer(backend, stage, address, "hello")
            assert await streamed(backend, stage, address, "hello") == list(PARTS)

    assert len(stage.peers) == 1


@asynccontextmanager
async def answering(handle: Any, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_key_is_shown_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine").write_text("s3cret")
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.Response(status=401, text="who is s3cret?")

    backend = OpenAiBackend(keys=Keys(tmp_path))
    model = a_model(backend=BackendConfig(kind="openai_http", key="mine"))
    async with answering(handle) as address:
        with pytest.raises(ModelFailed) as refused:
            await backend.infer(endpoint(address), model, a_request(), timeout_s=2)
        (tmp_path / "mine").write_text("newer")
        with pytest.raises(ModelFailed):
            await backend.infer(endpoint(address), model, a_request(), timeout_s=2)
    await backend.close()

    assert seen == ["Bearer s3cret", "Bearer newer"]
    assert "s3cret" not in str(refused.value) + caplog.text


async def test_https_is_spoken_to_whom_is_trusted_alone(
    backend: OpenAiBackend, tmp_path: Path
) -> None:
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b"{}")

    def to(address: str) -> Endpoint:
        return endpoint(f"https://{address}")

    async with answering(handle, tls) as address:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await backend.infer(to(address), a_model(), a_request(), timeout_s=2)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        trusting = OpenAiBackend(keys=Keys(None), ca=tmp_path / "ca.pem")
        answer = await trusting.infer(to(address), a_model(), a_request(), timeout_s=2)
        await trusting.close()

    assert answer.payload == b"{}"


async def test_an_answer_that_is_too_long_is_refused() -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2000)

    backend = OpenAiBackend(keys=Keys(None), max_message_bytes=1000)
    async with answering(handle) as address:
        with pytest.raises(ModelFailed, match="longer than 1000"):
            await backend.infer(endpoint(address), a_model(), a_request(), timeout_s=2)
    await backend.close()


async def test_a_stream_without_its_last_event_was_lost(backend: OpenAiBackend) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')

    stage = OpenAiStage()
    async with answering(handle) as address:
        with pytest.raises(Unavailable, match="before its last event"):
            await streamed(backend, stage, address, "hello")


async def test_a_server_without_health_is_asked_for_its_models(backend: OpenAiBackend) -> None:
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=200 if request.path == "/v1/models" else 404)

    async with answering(handle) as address:
        assert await backend.probe(endpoint(address), a_model(), "model", timeout_s=1)

    assert paths == ["/health", "/v1/models"]


@pytest.mark.parametrize(
    ("task", "payload", "path"),
    [
        ("text-generation", b'{"messages":[]}', "/chat/completions"),
        ("text-generation", b'{"prompt":""}', "/completions"),
        ("text-embeddings", b'{"model":""}', "/embeddings"),
    ],
)
def test_a_body_has_its_route(task: str, payload: bytes, path: str) -> None:
    request: InferRequest = a_request(task=task, payload=payload)

    assert path_of(request) == path
