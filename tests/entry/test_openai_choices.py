"""Several choices of one request: each a call of its own, answered together."""

import asyncio
import re
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.errors import OutOfCapacity, StreamLost
from libs.common.ports import Send
from libs.common.world_map import Account
from libs.eager import Promise
from services.entry.fronts.choices import SharedRoom
from services.entry.fronts.openai_answers import chat_completion
from services.entry.fronts.openai_frames import ChoiceFrames, Head, chat_wording
from services.entry.tasks.texts import Texts
from tests.entry.fakes import ACCOUNT, OUTCOME, TEXT, FakeServer, says, small_world
from tests.entry.gateways import call, gateway
from tests.entry.openai_sdk import MESSAGES, sdk
from tests.fakes import put


class Choosy(FakeServer):
    """Answers with the number of the call, the later ones sooner."""

    async def infer(self, request: InferRequest) -> InferReply:
        self.requests.append(request)
        number = len(self.requests)
        await asyncio.sleep(0.03 / number)
        return InferReply(payload=says(f"answer {number}", "stop"), outcome=OUTCOME)

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        self.requests.append(request)
        number = len(self.requests)
        for word in (f"{number}a", f"{number}b"):
            send((says(word),))
            await asyncio.sleep(0.02 / number)
        return OUTCOME


def seeds(server: FakeServer) -> list[int]:
    found = (re.search(rb'"seed":(\d+)', each.payload) for each in server.requests)
    return [int(each[1]) for each in found if each]


async def test_choices_come_in_order_with_seeds_apart() -> None:
    server = Choosy()
    async with sdk(server) as client:
        answer = await client.chat.completions.create(model=TEXT, messages=MESSAGES, n=3, seed=7)

    assert [each.message.content for each in answer.choices] == ["answer 1", "answer 2", "answer 3"]
    assert [each.index for each in answer.choices] == [0, 1, 2]
    assert seeds(server) == [7, 8, 9]
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 6)


async def test_a_largest_seed_goes_round() -> None:
    server = Choosy()
    async with sdk(server) as client:
        await client.chat.completions.create(model=TEXT, messages=MESSAGES, n=2, seed=9_999_999_999)

    assert seeds(server) == [9_999_999_999, 2]


async def test_choices_are_no_repetitions_of_each_other() -> None:
    server = Choosy()
    told = {"Idempotency-Key": "k", "x-request-id": "mine", "x-session-affinity": "s"}
    async with sdk(server) as client:
        await client.chat.completions.create(model=TEXT, messages=MESSAGES, n=2, extra_headers=told)

    first, second = server.requests
    assert first.request_id != second.request_id
    assert (first.idempotency_key, second.idempotency_key) == ("k", "k#1")
    assert (first.client_request_id, second.client_request_id) == ("mine", "mine-1")
    assert first.session == second.session == "s"
    assert (first.bytes_in > 0, second.bytes_in) == (True, 0)


@pytest.mark.parametrize("includes_usage", [True, False], ids=["with usage", "without"])
async def test_a_stream_of_choices_tells_them_by_their_index(includes_usage: bool) -> None:
    async with sdk(Choosy()) as client:
        stream = await client.chat.completions.create(
            model=TEXT,
            messages=MESSAGES,
            n=3,
            stream=True,
            stream_options={"include_usage": includes_usage},
        )
        chunks = [chunk async for chunk in stream]

    texts, reasons, roles = ["", "", ""], {}, 0
    for each in (chunk.choices[0] for chunk in chunks if chunk.choices):
        texts[each.index] += each.delta.content or ""
        roles += each.delta.role == "assistant"
        if each.finish_reason:
            assert each.index not in reasons
            reasons[each.index] = each.finish_reason
    assert texts == ["1a1b", "2a2b", "3a3b"]
    assert (roles, reasons) == (3, {0: "stop", 1: "stop", 2: "stop"})
    usages = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert usages == ([15] if includes_usage else [])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_one_choice_that_fails_ends_all() -> None:
    class SecondIsFull(Choosy):
        async def infer(self, request: InferRequest) -> InferReply:
            if not self.requests:
                return await FakeServer.infer(self, request)
            raise OutOfCapacity("full")

    server = SecondIsFull(asyncio.Event(), says("never"))
    async with sdk(server) as client, asyncio.timeout(5):
        with pytest.raises(openai.RateLimitError, match="3040"):
            await client.chat.completions.create(model=TEXT, messages=MESSAGES, n=2)

        await server.cancelled.wait()


async def test_one_stream_that_breaks_ends_all() -> None:
    class SecondBreaks(Choosy):
        async def stream(self, request: InferRequest, send: Send) -> Outcome:
            if not self.requests:
                return await FakeServer.stream(self, request, send)
            self.requests.append(request)
            send((says("b"),))
            raise StreamLost("broke")

    server = SecondBreaks(says("a"), asyncio.Event())
    async with sdk(server, continue_times=0) as client, asyncio.timeout(5):
        stream = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, n=2, stream=True
        )
        with pytest.raises(openai.APIError, match="3045: broke"):
            async for _ in stream:
                pass

        await server.cancelled.wait()


async def test_a_client_that_leaves_stops_every_choice() -> None:
    left: list[int] = []

    class Endless(Choosy):
        async def stream(self, request: InferRequest, send: Send) -> Outcome:
            self.requests.append(request)
            send((says("a"),))
            try:
                await asyncio.Event().wait()
            finally:
                left.append(1)
            return OUTCOME

    async with sdk(Endless()) as client, asyncio.timeout(5):
        stream = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, n=3, stream=True
        )
        await anext(aiter(stream))
        await stream.close()
        while len(left) < 3:
            await asyncio.sleep(0.01)


async def test_more_choices_than_the_setting_says_are_refused() -> None:
    server = Choosy()
    async with sdk(server, max_choices=2) as client:
        await client.chat.completions.create(model=TEXT, messages=MESSAGES, n=2)
        with pytest.raises(openai.BadRequestError, match="maximum of 2") as refused:
            await client.chat.completions.create(model=TEXT, messages=MESSAGES, n=10**9)

    assert refused.value.param == "n"
    assert len(server.requests) == 2


async def test_every_stream_that_waits_for_a_slow_reader_goes_on() -> None:
    promised: Promise[None] = Promise()
    room = SharedRoom()
    shows = [room.shared(lambda _: promised) for _ in range(3)]

    waiting = [show(()) for show in shows]
    promised.resolve(None)
    async with asyncio.timeout(5):
        for each in waiting:
            assert each is not None
            await each

    assert room.shared(lambda _: None)(()) is None


SHOWN = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=5).map(Texts),
        st.fixed_dictionaries(
            {"response": st.text(max_size=5)},
            optional={
                "tool_calls": st.lists(
                    st.fixed_dictionaries({"name": st.text(), "arguments": st.just({"a": 1})}),
                    min_size=1,
                    max_size=2,
                )
            },
        ),
    ),
    max_size=6,
)
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@given(shown=SHOWN, index=st.integers(0, 3), reason=st.sampled_from(["stop", "length"]))
def test_whatever_is_shown_the_chunks_add_up_to_the_whole(
    shown: list[Any], index: int, reason: str
) -> None:
    texts = ["".join(e.each()) if isinstance(e, Texts) else e["response"] for e in shown]
    calls = [c for e in shown if isinstance(e, dict) for c in e.get("tool_calls", [])]
    whole = {"response": "".join(texts), "finish_reason": reason, "usage": USAGE}
    if calls:
        whole["tool_calls"] = calls
    head = Head("chatcmpl", "chat.completion.chunk", "x", created=1)
    frames = ChoiceFrames(head, chat_wording(index), gateway().plan(call()), includes_usage=True)

    last = {"response": "", "finish_reason": reason, "usage": USAGE}
    written = b"".join(frames([each]) for each in [*shown, last])

    *chunks, usage = [orjson.loads(each[6:]) for each in written.split(b"\n\n") if each]
    deltas = [each["choices"][0]["delta"] for each in chunks]
    answer = chat_completion([whole] * (index + 1), request_id="x", model="m", created=1)
    choice = answer["choices"][index]
    told = [each for delta in deltas for each in delta.get("tool_calls", [])]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(each.get("content", "") for each in deltas) == (
        choice["message"]["content"] or ""
    )
    assert [each["index"] for each in told] == list(range(len(calls)))
    without = [{name: call[name] for name in call if name != "index"} for call in told]
    assert without == choice["message"].get("tool_calls", [])
    reasons = [each["choices"][0]["finish_reason"] for each in chunks]
    assert [each for each in reasons if each] == [choice["finish_reason"]] == [reasons[-1]]
    assert {each["choices"][0]["index"] for each in chunks} == {index}
    assert (usage["choices"], usage["usage"]) == ([], USAGE)


HELD: dict[str, tuple[list[bytes | BaseException], int]] = {
    "a choice that fails": ([OutOfCapacity("full")], 100),
    "a choice for which nothing is left": ([says("never")], 400),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("parts", "max_tokens"), HELD.values(), ids=HELD.keys())
async def test_choices_that_fail_let_go_of_what_they_held(
    parts: list[bytes | BaseException], max_tokens: int, stream: bool
) -> None:
    world, server = small_world("ams"), FakeServer(*parts)
    put(world, Account(id=ACCOUNT, tokens_per_minute=1000))
    asked: Any = {"model": TEXT, "messages": MESSAGES}
    async with sdk(server, world=world) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(n=3, max_tokens=max_tokens, stream=stream, **asked)
        server.parts = [says("ho")]
        raw = await client.chat.completions.with_raw_response.create(max_tokens=100, **asked)

    left = int(raw.headers["x-ratelimit-remaining-tokens"])
    assert left >= 1000 - OUTCOME.usage.tokens_in - OUTCOME.usage.tokens_out
