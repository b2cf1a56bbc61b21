"""The official `openai` SDK, unmodified, against a running system: sync and async."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field

from tests.system.harness import ACCOUNT, CHAT, EMBED, TOKEN, Up, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
MESSAGES: Any = [{"role": "user", "content": "What is the capital of France?"}]
ASKED: Any = {"model": CHAT, "messages": MESSAGES, "temperature": 0, "max_tokens": 40, "seed": 1}
ANSWER: Any = {"model": CHAT, "input": MESSAGES, "temperature": 0, "max_output_tokens": 40}
TEXTS = ["a cat", "a kitten", "a tax form"]
BASES = {"by account": f"/client/v4/accounts/{ACCOUNT}/ai/v1", "by token": "/v1"}
WEATHER: Any = {
    "name": "weather",
    "description": "How the weather is.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Paris"]}},
        "required": ["city"],
    },
}


class Person(BaseModel):
    """What JSON Mode is to fill in."""

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)


@pytest.fixture(params=BASES.values(), ids=BASES.keys())
def client(request: pytest.FixtureRequest, up: Up) -> Iterator[OpenAI]:
    with OpenAI(base_url=up.client.base + request.param, api_key=TOKEN) as made:
        yield made


@pytest.fixture
def asynchronous(up: Up) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{up.client.base}/v1", api_key=TOKEN)


def native(up: Up) -> str:
    """What Workers AI's route says to the same question."""
    body = {name: value for name, value in ASKED.items() if name != "model"}
    return str(up.client.run(CHAT, **body).json()["result"]["response"])


# --- chat completions ---


def test_a_chat_is_answered(up: Up, client: OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED)

    (choice,) = answer.choices
    assert "Paris" in choice.message.content
    assert choice.message.content == native(up)
    assert choice.finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_chat_is_streamed_with_its_usage(up: Up, client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ASKED)
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == native(up)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 5


def test_choices_are_answered_together(client: OpenAI) -> None:
    asked = {**ASKED, "temperature": 2, "n": 3, "max_tokens": 20}

    first, second = (client.chat.completions.create(**asked) for _ in range(2))

    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) == 3, "each has a seed of its own"
    assert texts == [choice.message.content for choice in second.choices]


def test_choices_are_streamed_together(client: OpenAI) -> None:
    asked = {**ASKED, "temperature": 2, "n": 2, "max_tokens": 20}
    whole = client.chat.completions.create(**asked)
    texts = ["", ""]

    for chunk in client.chat.completions.create(stream=True, **asked):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""

    assert texts == [choice.message.content for choice in whole.choices]


def test_a_finetune_is_asked_for_in_the_body(client: OpenAI) -> None:
    answer = client.chat.completions.create(extra_body={"lora": "pirate"}, **ASKED)

    assert answer.choices[0].message.content.startswith("Ahoy")


def test_the_sdks_own_stream_adds_up(up: Up, client: OpenAI) -> None:
    with client.chat.completions.stream(**ASKED) as stream:
        final = stream.get_final_completion()

    assert final.choices[0].message.content == native(up)


def test_raw_and_streaming_responses(up: Up, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASKED)
    with client.chat.completions.with_streaming_response.create(**ASKED) as streaming:
        body = streaming.json()

    assert raw.headers["x-constellation-request-id"]
    assert raw.parse().choices[0].message.content == native(up)
    assert body["choices"][0]["message"]["content"] == native(up)


# --- JSON Mode and tools ---


def test_json_is_parsed_into_what_was_asked_for(client: OpenAI) -> None:
    asked = {**ASKED, "max_tokens": 100}

    chat = client.chat.completions.parse(response_format=Person, **asked)
    with client.chat.completions.stream(response_format=Person, **asked) as stream:
        streamed = stream.get_final_completion()
    response = client.responses.parse(model=CHAT, input="Who is it?", text_format=Person)

    assert 0 <= chat.choices[0].message.parsed.age <= 120
    assert streamed.choices[0].message.parsed == chat.choices[0].message.parsed
    assert response.output_parsed.name


def test_a_tool_is_called_and_heard(client: OpenAI) -> None:
    asked: Any = {"model": CHAT, "tools": [{"type": "function", "function": WEATHER}]}
    first = client.chat.completions.create(messages=MESSAGES, tool_choice="required", **asked)
    (call,) = first.choices[0].message.tool_calls
    told = {"role": "tool", "tool_call_id": call.id, "content": "rain"}

    second = client.chat.completions.create(
        messages=[*MESSAGES, first.choices[0].message, told], max_tokens=20, **asked
    )

    assert first.choices[0].finish_reason == "tool_calls"
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Paris")
    assert second.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_tool_is_called_in_streams(client: OpenAI) -> None:
    tools: Any = [{"type": "function", "function": WEATHER}]
    asked: Any = {"model": CHAT, "messages": MESSAGES, "tools": tools, "tool_choice": "required"}

    with client.chat.completions.stream(**asked) as stream:
        chat = stream.get_final_completion()
    with client.responses.stream(
        model=CHAT,
        input="How is it?",
        tools=[{"type": "function", **WEATHER}],
        tool_choice="required",
    ) as events:
        response = events.get_final_response()

    assert chat.choices[0].message.tool_calls[0].function.name == "weather"
    assert [(item.type, item.name) for item in response.output] == [("function_call", "weather")]


# --- completions ---


def test_a_text_goes_on(client: OpenAI) -> None:
    asked: Any = {"model": CHAT, "prompt": ["Once", "The"], "temperature": 0, "max_tokens": 8}

    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(stream=True, **asked))

    texts = ["", ""]
    for chunk in chunks:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert [choice.text for choice in whole.choices] == texts
    assert whole.usage.completion_tokens > 2
    assert [choice.finish_reason for choice in whole.choices] == ["length", "length"]


# --- embeddings ---


def test_texts_are_embedded_the_same_either_way(client: OpenAI) -> None:
    asked: Any = {"model": EMBED, "input": TEXTS}

    packed = client.embeddings.create(**asked)  # as the SDK asks by itself: in base64
    plain = client.embeddings.create(encoding_format="float", **asked)
    text: Any = client.embeddings.create(encoding_format="base64", **asked).data[0].embedding

    vectors = np.array([each.embedding for each in packed.data], dtype=np.float32)
    assert vectors.shape == (3, 384)
    assert np.allclose(vectors, [each.embedding for each in plain.data], atol=1e-7)
    assert np.array_equal(np.frombuffer(base64.b64decode(text), dtype="<f4"), vectors[0])
    cat, kitten, form = vectors
    assert cat @ kitten > cat @ form + 0.2
    assert packed.usage.total_tokens == plain.usage.total_tokens > 0


# --- responses ---


def test_a_response_is_made(up: Up, client: OpenAI) -> None:
    answer = client.responses.create(**ANSWER)

    assert answer.output_text == native(up)
    assert (answer.status, answer.output[0].type) == ("completed", "message")
    assert answer.output[0].content[0].annotations == []
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_response_is_streamed(up: Up, client: OpenAI) -> None:
    events = list(client.responses.create(stream=True, **ANSWER))

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == native(up)
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == native(up)
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_the_sdks_own_stream_of_a_response_adds_up(up: Up, client: OpenAI) -> None:
    with client.responses.stream(**ANSWER) as stream:
        final = stream.get_final_response()

    assert final.output_text == native(up)


def test_a_conversation_goes_on_by_sending_all_of_it(client: OpenAI) -> None:
    first = client.responses.create(**ANSWER)
    items = [*MESSAGES, *first.output, {"role": "user", "content": "Hello!"}]

    second = client.responses.create(**{**ANSWER, "input": items})

    assert second.usage.input_tokens > first.usage.input_tokens
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(previous_response_id=first.id, **ANSWER)
    assert refused.value.param == "previous_response_id"


# --- models ---


def test_the_models_are_listed(client: OpenAI) -> None:
    listed = {model.id: model.owned_by for model in client.models.list()}

    assert {CHAT, EMBED} <= listed.keys()
    assert listed[CHAT] == "demo"
    assert client.models.retrieve(CHAT).id == CHAT
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("@cf/none")


# --- errors ---


def test_an_unknown_model_is_told(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="No such model") as refused:
        client.chat.completions.create(model="@cf/none", messages=MESSAGES)

    assert refused.value.code == "unknown_model"


def test_a_bad_parameter_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(logprobs=True, **ASKED)

    assert (refused.value.param, refused.value.code) == ("logprobs", "bad_input")


def test_a_wrong_token_is_told(client: OpenAI) -> None:
    stranger = client.with_options(api_key="wrong")
    for ask in (stranger.models.list, lambda: stranger.chat.completions.create(**ASKED)):
        with pytest.raises(openai.AuthenticationError) as refused:
            ask()
        assert refused.value.code == "unauthenticated"


def test_what_is_not_there_is_told(client: OpenAI) -> None:
    for ask in (lambda: client.responses.retrieve("resp_1"), lambda: client.files.list()):
        with pytest.raises(openai.NotFoundError) as refused:
            ask()
        assert refused.value.code == "unknown_route"


def test_a_full_house_is_told_and_tried_again(client: OpenAI) -> None:
    busy = {"options": {"rejectIfBusy": True}}
    long = {**ASKED, "n": 8, "max_tokens": 500, "temperature": 2}
    stream = client.chat.completions.create(stream=True, **long)
    next(iter(stream))  # it has all permits until it is left, of a second instance, too
    refused: list[openai.RateLimitError] = []

    def is_refused() -> bool:
        try:
            client.with_options(max_retries=0).chat.completions.create(extra_body=busy, **ASKED)
        except openai.RateLimitError as error:
            refused.append(error)
        return bool(refused)

    until(is_refused, seconds=10, what="a refusal")
    threading.Timer(0.2, stream.close).start()
    patient = client.with_options(max_retries=5)
    raw = patient.chat.completions.with_raw_response.create(extra_body=busy, **ASKED)

    assert refused[0].code == "out_of_capacity"
    assert 1 <= int(refused[0].response.headers["retry-after"]) <= 60
    assert raw.retries_taken > 0
    assert raw.parse().choices[0].message.content


# --- asynchronously ---


async def test_all_of_it_asynchronously(up: Up, asynchronous: AsyncOpenAI) -> None:
    said = native(up)
    async with asynchronous as client:
        chat = await client.chat.completions.create(**ASKED)
        stream = await client.chat.completions.create(stream=True, **ASKED)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        response = await client.responses.create(**ANSWER)
        events = [event async for event in await client.responses.create(stream=True, **ANSWER)]
        vectors = await client.embeddings.create(model=EMBED, input=TEXTS)
        more = await client.completions.create(model=CHAT, prompt="Once", max_tokens=4)
        models = [model.id async for model in client.models.list()]
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(**{**ASKED, "model": "@cf/none"})

    assert [chat.choices[0].message.content, text, response.output_text] == [said] * 3
    assert events[-1].type == "response.completed"
    assert len(vectors.data) == 3
    assert more.choices[0].text
    assert CHAT in models


async def test_leaving_a_stream_stops_the_model(up: Up, asynchronous: AsyncOpenAI) -> None:
    async with asynchronous as client:
        stream = await client.chat.completions.create(
            stream=True, extra_body={"options": {"cost": 4}}, **{**ASKED, "max_tokens": 500}
        )
        await anext(aiter(stream))
        await stream.close()
        began = time.monotonic()
        await client.chat.completions.create(extra_body={"options": {"cost": 4}}, **ASKED)

    assert time.monotonic() - began < 20
