"""OpenAI's completions, judged by the official SDK."""

from typing import Any

import openai
import pytest

from libs.common.errors import StreamLost
from tests.entry.fakes import TEXT, VECTORS, FakeServer, says
from tests.entry.openai_sdk import BY_TOKEN, WITH_ACCOUNT, sdk


@pytest.mark.parametrize("base", [WITH_ACCOUNT, BY_TOKEN], ids=["account", "token"])
async def test_a_completion_goes_on_from_the_prompt_itself(base: str) -> None:
    server = FakeServer(says(" upon a time", "length"))
    async with sdk(server, base=base) as client:
        answer = await client.completions.create(
            model=TEXT, prompt="Once", temperature=0, stop=["."], echo=False, best_of=1, user="u"
        )

    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == (" upon a time", "length", 0)
    assert answer.object == "text_completion"
    assert answer.id == f"cmpl-{server.requests[0].request_id}"
    assert answer.usage
    assert answer.usage.total_tokens == 5
    assert b"<user>" not in server.requests[0].payload
    assert b"Once" in server.requests[0].payload
    assert b'"max_tokens":16' in server.requests[0].payload
    assert b'"stop":["."]' in server.requests[0].payload


async def test_several_prompts_have_their_choices_one_after_the_other() -> None:
    server = FakeServer(says("x"))
    async with sdk(server) as client:
        answer = await client.completions.create(model=TEXT, prompt=["a1", "b2"], n=2, seed=5)

    assert [each.index for each in answer.choices] == [0, 1, 2, 3]
    asked = [(b"a1" in each.payload, b'"seed":5' in each.payload) for each in server.requests]
    assert asked == [(True, True), (True, False), (False, True), (False, False)]
    assert answer.usage
    assert answer.usage.completion_tokens == 8


async def test_a_completion_is_streamed() -> None:
    async with sdk(FakeServer(says("a"), says("b"), says("", "length"))) as client:
        stream = await client.completions.create(
            model=TEXT, prompt=["x", "y"], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    texts = ["", ""]
    for each in (chunk.choices[0] for chunk in chunks if chunk.choices):
        texts[each.index] += each.text
    assert texts == ["ab", "ab"]
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [each for each in reasons if each] == ["length", "length"]
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 10


async def test_a_completion_that_breaks_raises_in_the_sdk() -> None:
    async with sdk(FakeServer(says("a"), StreamLost("broke"))) as client:
        stream = await client.completions.create(model=TEXT, prompt="x", stream=True)

        with pytest.raises(openai.APIError, match="AiError: 3045: broke"):
            async for _ in stream:
                pass


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "tokens": ({"prompt": [1, 2]}, "prompt.0", "expected a string, got an integer"),
    "lists of tokens": ({"prompt": [[1, 2]]}, "prompt.0", "expected a string, got an array"),
    "no prompt": ({"prompt": ""}, "prompt", "at least 1 character"),
    "no prompts": ({"prompt": []}, "prompt", "at least 1 item"),
    "too many prompts": ({"prompt": ["a"] * 17}, "prompt", "17 choices are more than"),
    "echo": ({"echo": True}, "echo", "not said again"),
    "suffix": ({"suffix": "end"}, "suffix", "not inserted"),
    "best of": ({"best_of": 2}, "best_of", "not ranked"),
    "logprobs": ({"logprobs": 0}, "logprobs", "not available"),
    "bias": ({"logit_bias": {"50256": -100}}, "logit_bias", "cannot be changed"),
    "tokens to make": ({"max_tokens": 900}, "max_tokens", "512"),
    "wrong task": ({"model": VECTORS}, "model", "does text-embeddings"),
}


@pytest.mark.parametrize(("change", "param", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_completion_is_refused(change: dict[str, Any], param: str, words: str) -> None:
    server = FakeServer()
    async with sdk(server) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.completions.create(**({"model": TEXT, "prompt": "a"} | change))

    assert refused.value.param == param
    assert words in refused.value.message
    assert not server.requests
