"""What every `Backend` does: a Triton, and a server with OpenAI's API, over real connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.deadline import Deadline
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelRefused,
    RequestError,
    Unavailable,
)
from libs.eager import Promise
from services.server.endpoints import Endpoint
from services.server.errors import EndpointFull
from services.server.ports import Backend, Depth
from tests.contract.models_behind import PARTS, OpenAiStage, Stage, TritonStage


@pytest.fixture(params=[TritonStage, OpenAiStage], ids=["triton", "openai_http"])
def stage(request: pytest.FixtureRequest) -> Stage:
    made: Stage = request.param()
    return made


@pytest.fixture
async def address(stage: Stage) -> AsyncIterator[str]:
    async with stage.serving("127.0.0.1:0") as bound:
        yield bound


@pytest.fixture
async def backend(stage: Stage, address: str) -> AsyncIterator[Any]:
    made: Any = stage.backend()
    yield made
    await made.close()


def endpoint(address: str) -> Endpoint:
    return Endpoint(instance="i", address=address, concurrency=9)


def within(seconds: float = 5.0, idle: float = 5.0) -> Deadline:
    now = time.monotonic()
    return Deadline(now + seconds, now + 30, idle)


async def streamed(
    backend: Backend, stage: Stage, address: str, what: str, deadline: Deadline | None = None
) -> list[str]:
    """Return the texts of a stream's parts, those before an error in its notes."""
    texts: list[str] = []

    def send(payloads: Any) -> None:
        texts.extend(map(stage.text_of, payloads))

    request = stage.request(what, stream=True)
    bounds = deadline or within()
    try:
        await backend.stream(endpoint(address), stage.model(), request, send, deadline=bounds)
    except RequestError as error:
        error.add_note("".join(texts))
        raise
    return texts


async def infer(backend: Backend, stage: Stage, address: str, what: str, **rest: Any) -> str:
    timeout_s = rest.pop("timeout_s", 5.0)
    request = stage.request(what, **rest)
    answer = await backend.infer(endpoint(address), stage.model(), request, timeout_s=timeout_s)
    return stage.text_of(answer.payload)


async def test_an_answer_comes_back(backend: Backend, stage: Stage, address: str) -> None:
    assert await infer(backend, stage, address, "hello") == "hello"


async def test_an_adapter_reaches_the_model(backend: Backend, stage: Stage, address: str) -> None:
    assert await infer(backend, stage, address, "hello", adapter="pirate") == "pirate"


async def test_a_stream_is_all_its_parts(backend: Backend, stage: Stage, address: str) -> None:
    assert await streamed(backend, stage, address, "hello") == list(PARTS)


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("refuse", ModelRefused, "too long"),
        ("fail", ModelFailed, "out of memory"),
        ("full", EndpointFull, "queue is full"),
    ],
)
async def test_errors_keep_their_meaning(
    backend: Backend, stage: Stage, address: str, what: str, kind: type[RequestError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await infer(backend, stage, address, what)


async def test_an_error_in_a_stream_has_a_code_and_comes_after_the_parts(
    backend: Backend, stage: Stage, address: str
) -> None:
    with pytest.raises(ModelFailed, match="out of memory") as failed:
        await streamed(backend, stage, address, "fail")

    assert failed.value.__notes__ == ["one "]


async def test_a_stream_that_breaks_is_an_instance_that_was_lost(
    backend: Backend, stage: Stage, address: str
) -> None:
    with pytest.raises(Unavailable) as lost:
        await streamed(backend, stage, address, "break")

    assert lost.value.sent
    assert lost.value.__notes__ == ["one "]


async def test_where_nobody_listens_nothing_was_sent(backend: Backend, stage: Stage) -> None:
    with pytest.raises(Unavailable) as lost:
        await infer(backend, stage, "127.0.0.1:9", "hello")

    assert not lost.value.sent


async def test_an_answer_that_does_not_come_is_given_up_and_the_model_stopped(
    backend: Backend, stage: Stage, address: str
) -> None:
    with pytest.raises(DeadlineExceeded):
        await infer(backend, stage, address, "hang", timeout_s=0.3)

    await asyncio.wait_for(stage.left.wait(), 1)


async def test_a_silence_in_a_stream_ends_it_and_stops_the_model(
    backend: Backend, stage: Stage, address: str
) -> None:
    with pytest.raises(DeadlineExceeded) as late:
        await streamed(backend, stage, address, "hang", within(idle=0.2))

    assert late.value.__notes__ == ["one "]
    await asyncio.wait_for(stage.left.wait(), 1)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_cancelling_reaches_the_model_at_once(
    backend: Backend, stage: Stage, address: str, stream: bool
) -> None:
    work = streamed if stream else infer
    task = asyncio.create_task(work(backend, stage, address, "hang"))  # type: ignore[operator]
    await asyncio.wait_for(stage.began.wait(), 2)

    task.cancel()

    await asyncio.wait_for(stage.left.wait(), 0.1)


async def test_who_reads_slowly_is_waited_for_longer_than_a_silence(
    backend: Backend, stage: Stage, address: str
) -> None:
    texts: list[str] = []

    def send(payloads: Any) -> Promise[None]:
        texts.extend(map(stage.text_of, payloads))
        taken: Promise[None] = Promise(asyncio.get_running_loop())
        asyncio.get_running_loop().call_later(0.15, taken.resolve, None)
        return taken

    request = stage.request("hello", stream=True)
    bounds = within(idle=0.1)
    await backend.stream(endpoint(address), stage.model(), request, send, deadline=bounds)

    assert texts == list(PARTS)


async def test_a_probe_tells_whether_the_model_is_well(
    backend: Backend, stage: Stage, address: str
) -> None:
    async def tells(depth: Depth, at: str = address) -> bool | None:
        return await backend.probe(endpoint(at), stage.model(), depth, timeout_s=1)

    assert [await tells("server"), await tells("model"), await tells("inference")] == [
        True,
        True,
        None,
    ]

    stage.is_well = False

    assert [await tells("server"), await tells("model")] == [True, False]
    assert not await tells("server", "127.0.0.1:9")
    assert not await tells("model", "127.0.0.1:9")


async def test_after_a_restart_calls_are_answered_within_a_second(stage: Stage) -> None:
    backend: Any = stage.backend()
    async with stage.serving("127.0.0.1:0") as address:
        await infer(backend, stage, address, "hello")
    with pytest.raises(Unavailable):
        await infer(backend, stage, address, "hello", timeout_s=0.5)

    async with stage.serving(address):
        back = time.monotonic()
        while True:
            try:
                assert await infer(backend, stage, address, "hello") == "hello"
                break
            except Unavailable:
                await asyncio.sleep(0.02)
        assert time.monotonic() - back < 1
    await backend.close()
