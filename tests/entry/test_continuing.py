"""Streams that break and go on elsewhere: the client sees one text, whole and once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import wire
from libs.common.catalog import Timeouts, UsageTensors
from libs.common.envelope import InferReply, InferRequest, Outcome, Usage
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelStarting,
    OutOfCapacity,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.pb import kserve_pb2 as kserve
from libs.common.ports import Send
from libs.common.world_map import Token
from services.entry.app import Config, Entry
from services.entry.calls import Call, Told
from services.entry.fronts.openai_frames import CHAT, ChoiceFrames, Head
from services.entry.gateway import Gateway
from services.entry.tasks.base import Shown, results
from tests.entry.fakes import ACCOUNT, TEXT, TEXT_MODEL, entry_of, response, small_world
from tests.entry.gateways import call
from tests.fakes import put

STORY = "Es war einmal ein 🦊, der las Prosa: «Ünüş» 東京, und schlief ein."
TOKENS = STORY.encode()  # a token is a byte, as with the demo model
PROMPT_TOKENS = 7
LOST = StreamLost("the stream broke", sent=True)
SERVER_LOST = Unavailable("the server was lost", sent=True)


class Storyteller:
    """A server whose model tells one story by bytes, from wherever the prompt ends in it.

    Each call takes the next of the plans: how many parts come before which error, the last
    call's is told whole.
    """

    def __init__(self, *breaks: tuple[int, RequestError], tells_usage: bool = True) -> None:
        self.breaks = list(breaks)
        self.tells_usage = tells_usage
        self.requests: list[InferRequest] = []
        self.bytes_per_part = 1

    async def infer(self, request: InferRequest) -> InferReply:
        raise AssertionError("streams only")

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        self.requests.append(request)
        parts, error = self.breaks.pop(0) if self.breaks else (len(TOKENS) + 1, None)
        prompt, max_tokens = read(request)
        told = self.told(prompt, max_tokens)
        for at, part in enumerate(told):
            if at == parts:
                break
            await asyncio.sleep(0)
            room = send((part,))
            if room is not None:
                await room
        if error is not None:
            raise error
        tokens_in = 0 if request.continued_from else PROMPT_TOKENS
        return Outcome(usage=Usage(tokens_in=tokens_in, tokens_out=len(told)))

    def told(self, prompt: str, max_tokens: int) -> list[bytes]:
        """Return all parts of the answer to a prompt."""
        assert prompt.startswith("hi")
        said = prompt.removeprefix("hi")
        assert STORY.startswith(said)
        rest = TOKENS[len(said.encode()) :][:max_tokens]
        reason = "length" if len(rest) == max_tokens else "stop"
        parts = []
        for at in range(len(rest)):
            is_last = at + 1 == len(rest)
            parts.append(self.part(rest[at : at + 1], reason if is_last else "None"))
        return parts

    def part(self, raw: bytes, reason: str) -> bytes:
        counts = (("tokens_in", PROMPT_TOKENS), ("tokens_out", 1)) if self.tells_usage else ()
        numbers = (wire.numbers(name, "UINT32", np.array([value])) for name, value in counts)
        return response(wire.text("text_output", raw), wire.text("finish_reason", reason), *numbers)


def read(request: InferRequest) -> tuple[str, int]:
    """Return the prompt of a request, and how many tokens may come."""
    message = kserve.ModelInferRequest.FromString(request.payload)
    names = (each.name for each in message.inputs)
    tensors = dict(zip(names, message.raw_input_contents, strict=True))
    sampling = orjson.loads(tensors["sampling_parameters"][4:])
    return tensors["text_input"][4:].decode(), sampling["max_tokens"]


def entry(*servers: Storyteller, idle_s: float = 5.0, **config: Any) -> Entry:
    colos = ("ams", "lhr", "iad")[: len(servers)]
    world = small_world(*colos)
    usage = UsageTensors(tokens_in="tokens_in", tokens_out="tokens_out")
    backend = replace(TEXT_MODEL.backend, usage=usage)
    put(world, replace(TEXT_MODEL, backend=backend, timeouts=Timeouts(idle_s=idle_s)))
    settings = Config(colo="ams", http="127.0.0.1:0", grpc="", **config)
    return entry_of(world, dict(zip(colos, servers, strict=True)), config=settings)


async def told(gateway: Gateway, max_tokens: int = 200, **more: Any) -> list[dict[str, Any]]:
    """Return what a client sees of the story."""
    token = Token(hash="", account=ACCOUNT)
    body = {"prompt": "hi", "raw": True, "max_tokens": max_tokens}
    plan = gateway.plan(Call(token=token, model=TEXT, body=body, told=Told(stream=True, **more)))
    together: list[Shown] = []
    await gateway.stream(plan, lambda shown: together.extend(shown))
    return [*chain(*map(results, together))]


def check(shown: Sequence[dict[str, Any]], max_tokens: int = 200) -> None:
    """It is the story, with one reason at its end and the usage of an undisturbed one."""
    raw = TOKENS[:max_tokens]
    assert "".join(each["response"] for each in shown) == raw.decode("utf-8", "replace")
    reasons = [each["finish_reason"] for each in shown if "finish_reason" in each]
    assert reasons == ["length" if len(raw) == max_tokens else "stop"]
    total = PROMPT_TOKENS + len(raw)
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": len(raw), "total_tokens": total}
    assert [each["usage"] for each in shown if "usage" in each] == [usage]
    assert "usage" in shown[-1]


async def test_what_is_missing_is_asked_for_without_the_idempotency_key() -> None:
    server = Storyteller((5, LOST))

    check(await told(entry(server).gateway, idempotency_key="k"))

    assert [each.idempotency_key for each in server.requests] == ["k", ""]


async def test_a_stream_that_breaks_goes_on_and_its_client_sees_one_text() -> None:
    server = Storyteller((5, LOST))
    made = entry(server)

    check(await told(made.gateway))

    first, second = server.requests
    assert (first.attempt, first.continued_from) == (0, 0)
    assert (second.attempt, second.continued_from) == (1, 5)
    assert second.request_id == first.request_id
    assert read(second) == ("hiEs wa", 195)
    ends = made.gateway._metrics.broken
    assert ends["ams", "continued"] == 1


FOX = STORY.index("🦊")


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
async def test_a_character_that_was_cut_is_told_once(cut: int) -> None:
    server = Storyteller((FOX + cut, LOST))

    check(await told(entry(server).gateway))

    prompt, left = read(server.requests[1])
    is_whole = cut == 4
    assert prompt == "hi" + STORY[: FOX + is_whole]
    assert left == 200 - FOX - (4 if is_whole else 0)


async def test_a_stream_that_breaks_after_its_reason_is_whole() -> None:
    server = Storyteller((len(TOKENS), LOST))
    made = entry(server)

    check(await told(made.gateway))

    assert len(server.requests) == 1
    assert made.gateway._metrics.broken["ams", "whole"] == 1


async def test_a_stream_that_breaks_before_its_first_part_is_asked_for_again() -> None:
    server = Storyteller((0, SERVER_LOST))

    check(await told(entry(server).gateway))

    assert [each.attempt for each in server.requests] == [0, 1]
    assert server.requests[1].continued_from == 0


async def test_a_stream_may_break_more_than_once() -> None:
    server = Storyteller((3, LOST), (30, SERVER_LOST), (5, SERVER_LOST))

    check(await told(entry(server).gateway))

    assert [each.continued_from for each in server.requests] == [0, 3, 33, 38]
    assert [each.attempt for each in server.requests] == [0, 1, 2, 3]


async def test_a_stream_under_which_two_instances_died_is_not_sent_to_a_third() -> None:
    server = Storyteller((3, LOST), (30, LOST))

    with pytest.raises(StreamLost):
        await told(entry(server).gateway)

    assert len(server.requests) == 2


async def test_a_stream_breaks_no_more_often_than_the_setting_says() -> None:
    server = Storyteller(*[(3, SERVER_LOST)] * 9)

    with pytest.raises(Unavailable):
        await told(entry(server, continue_times=2).gateway)

    assert len(server.requests) == 3


async def test_where_the_server_died_another_colo_goes_on() -> None:
    dead = Storyteller((4, SERVER_LOST), (0, Unavailable("cannot connect")))
    other = Storyteller()

    check(await told(entry(dead, other).gateway))

    (went_on,) = other.requests
    assert (went_on.attempt, went_on.continued_from) == (2, 4)


async def test_what_has_no_place_at_once_waits_for_one() -> None:
    full = (0, OutOfCapacity("full"))
    server = Storyteller((9, LOST), full, (0, ModelStarting("not there yet")))

    check(await told(entry(server).gateway))

    assert [each.attempt for each in server.requests] == [0, 1, 2, 3]
    assert {each.continued_from for each in server.requests[1:]} == {9}


async def test_without_a_place_in_time_it_ends_as_it_broke() -> None:
    server = Storyteller((9, LOST), *[(0, OutOfCapacity("full"))] * 99)

    with pytest.raises(StreamLost):
        await asyncio.wait_for(told(entry(server, idle_s=0.3).gateway), 2)

    assert 1 < len(server.requests) < 9
    assert all(each.time_bounds.first_part_ms <= 300 for each in server.requests[1:])


async def test_without_budget_it_ends_as_it_broke() -> None:
    servers = Storyteller((9, LOST)), Storyteller((9, LOST), (9, LOST))
    spent = entry(servers[0], continue_burst=0, continue_rate=0)
    one = entry(servers[1], continue_burst=1, continue_rate=0)

    with pytest.raises(StreamLost):
        await told(spent.gateway)
    with pytest.raises(StreamLost):
        await told(one.gateway)

    assert [len(each.requests) for each in servers] == [1, 2]
    assert one.gateway._metrics.broken["ams", "lost"] == 1


async def test_a_text_that_was_too_long_to_keep_ends_as_it_broke() -> None:
    with pytest.raises(StreamLost):
        await told(entry(Storyteller((9, LOST)), continue_bytes=8).gateway)

    check(await told(entry(Storyteller((9, LOST)), continue_bytes=9).gateway))


@pytest.mark.parametrize(
    "error",
    [ModelFailed("oops", sent=True), DeadlineExceeded("silence", sent=True)],
    ids=["the model failed", "time is up"],
)
async def test_what_is_no_loss_is_told_at_once(error: RequestError) -> None:
    server = Storyteller((9, error))

    with pytest.raises(type(error)):
        await told(entry(server).gateway)

    assert len(server.requests) == 1


async def test_tokens_are_counted_by_parts_where_the_model_does_not_tell_them() -> None:
    server = Storyteller((9, LOST), tells_usage=False)

    await told(entry(server).gateway)

    assert read(server.requests[1])[1] == 200 - 9


async def test_chunks_of_a_broken_stream_have_one_role_and_one_reason() -> None:
    gateway = entry(Storyteller((FOX + 2, LOST))).gateway
    head = Head("chatcmpl", "chat.completion.chunk", "x", created=1)
    frames = ChoiceFrames(head, CHAT, gateway.plan(call()), includes_usage=False)
    shown = await told(gateway)

    chunks = [
        orjson.loads(line.removeprefix(b"data: "))["choices"][0]
        for result in shown
        for line in frames([result]).split(b"\n\n")
        if line
    ]

    assert [each["delta"].get("role") for each in chunks].count("assistant") == 1
    assert [each["finish_reason"] for each in chunks if each["finish_reason"]] == ["stop"]
    assert "".join(each["delta"].get("content", "") for each in chunks) == STORY


@given(
    breaks=st.lists(st.integers(0, len(TOKENS)), max_size=2),
    max_tokens=st.integers(1, len(TOKENS) + 2),
)
def test_wherever_a_stream_breaks_its_client_sees_the_same(
    breaks: list[int], max_tokens: int
) -> None:
    server = Storyteller(*[(parts, SERVER_LOST) for parts in breaks])

    check(asyncio.run(told(entry(server).gateway, max_tokens)), max_tokens)
