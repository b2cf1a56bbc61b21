"""OpenAI's front, judged by the official SDK."""

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest

from libs.common.catalog import Listing
from libs.common.errors import OutOfCapacity, StreamLost
from tests.entry.asking import ask
from tests.entry.fakes import (
    SECRET,
    TEXT,
    TEXT_MODEL,
    VECTOR_MODEL,
    VECTORS,
    FakeServer,
    listening,
    place,
    says,
    small_world,
    vectors,
)
from tests.entry.openai_sdk import BY_TOKEN, MESSAGES, WITH_ACCOUNT, sdk
from tests.fakes import put


@pytest.mark.parametrize("base", [WITH_ACCOUNT, BY_TOKEN], ids=["account", "token"])
async def test_a_chat_completion(base: str) -> None:
    server = FakeServer(says("ho", "length"))
    async with sdk(server, base=base) as client:
        answer = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, max_completion_tokens=7, temperature=0, seed=0, stop=None
        )

    (choice,) = answer.choices
    assert (choice.message.content, choice.message.role) == ("ho", "assistant")
    assert choice.finish_reason == "length"
    assert answer.object == "chat.completion"
    assert answer.model == TEXT
    assert answer.id == f"chatcmpl-{server.requests[0].request_id}"
    assert answer.created > 1_600_000_000
    assert answer.usage
    assert answer.usage.total_tokens == 5
    assert b'"max_tokens":7' in server.requests[0].payload
    assert b'"seed":1' in server.requests[0].payload


@pytest.mark.parametrize("includes_usage", [True, False], ids=["with usage", "without"])
async def test_a_chat_stream(includes_usage: bool) -> None:
    async with sdk(FakeServer(says("a"), says("b", "length"))) as client:
        stream = await client.chat.completions.create(
            model=TEXT,
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": includes_usage},
        )
        chunks = [chunk async for chunk in stream]

    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert "".join(each.delta.content or "" for each in choices) == "ab"
    assert [each.finish_reason for each in choices] == [None, None, None, "length"]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert [usage.total_tokens for usage in usages] == ([5] if includes_usage else [])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_last_part_without_text_ends_nothing_early() -> None:
    async with sdk(FakeServer(says("a"), says("", "stop"))) as client:
        stream = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


async def test_a_stream_that_breaks_raises_in_the_sdk() -> None:
    async with sdk(FakeServer(says("a"), StreamLost("broke"))) as client:
        stream = await client.chat.completions.create(model=TEXT, messages=MESSAGES, stream=True)

        with pytest.raises(openai.APIError, match="AiError: 3045: broke"):
            async for _ in stream:
                pass


async def test_closing_the_stream_stops_the_model() -> None:
    server = FakeServer(says("a"), asyncio.Event())
    async with sdk(server) as client, asyncio.timeout(5):
        stream = await client.chat.completions.create(model=TEXT, messages=MESSAGES, stream=True)
        await anext(aiter(stream))
        await stream.close()

        await server.cancelled.wait()


@pytest.mark.parametrize("how", [{}, {"encoding_format": "float"}], ids=["base64", "float"])
async def test_embeddings(how: Any) -> None:
    async with sdk(FakeServer(vectors([1, 0.5], [2, 0.25]))) as client:
        answer = await client.embeddings.create(model=VECTORS, input=["a", "b"], **how)

    assert [each.embedding for each in answer.data] == [[1, 0.5], [2, 0.25]]
    assert [each.index for each in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == 3


async def test_more_texts_than_a_call_takes_are_embedded_by_several() -> None:
    class Counting(FakeServer):
        async def infer(self, request: Any) -> Any:
            texts = request.payload.count(b"text-")
            await asyncio.sleep(0.02 / (1 + len(self.requests)))  # the later ones come sooner
            first = int(request.payload.partition(b"text-")[2][:3])
            self.parts = [vectors(*([first + at, 0.5] for at in range(texts)))]
            return await super().infer(request)

    server = Counting()
    async with sdk(server) as client:
        texts = [f"text-{at:03}" for at in range(250)]
        answer = await client.embeddings.create(model=VECTORS, input=texts)

    assert [each.embedding[0] for each in answer.data] == list(range(250))
    assert [each.index for each in answer.data] == list(range(250))
    assert len(server.requests) == 3
    assert answer.usage.prompt_tokens == 9


async def test_vectors_of_different_models_are_not_mixed() -> None:
    class FullOnce(FakeServer):
        async def infer(self, request: Any) -> Any:
            is_second = len(self.requests) == 1
            self.parts = [OutOfCapacity("full") if is_second else vectors(*[[1, 2]] * 100)]
            return await super().infer(request)

    world, other = small_world("ams"), "@cf/demo/other"
    put(world, replace(VECTOR_MODEL, fallbacks=(other,)))
    put(world, replace(VECTOR_MODEL, name=other), *place(other, "ams"))
    async with sdk(FullOnce(), world=world) as client:
        with pytest.raises(openai.InternalServerError, match="different models") as refused:
            await client.embeddings.create(model=VECTORS, input=["a"] * 200)

    assert refused.value.status_code == 503


async def test_the_models_are_listed() -> None:
    async with sdk(FakeServer()) as client:
        names = [model.id async for model in client.models.list()]

    assert names == [VECTORS, TEXT]


@pytest.mark.parametrize("base", [WITH_ACCOUNT, BY_TOKEN], ids=["account", "token"])
async def test_a_model_is_found_by_its_name_or_an_alias(base: str) -> None:
    world = small_world("ams")
    listing = Listing(author="us", properties={"created_at": "2024-12-06 17:09:18.338"})
    put(world, replace(TEXT_MODEL, listing=listing))
    async with sdk(FakeServer(), base=base, world=world) as client:
        found = [await client.models.retrieve(name) for name in (TEXT, "demo")]

    told = [(model.id, model.owned_by, model.created, model.object) for model in found]
    assert told == [(TEXT, "us", 1733504958, "model")] * 2


@pytest.mark.parametrize("name", [TEXT, TEXT.replace("/", "%2F"), TEXT.replace("@", "%40")])
async def test_a_models_name_may_be_encoded(name: str) -> None:
    found = await ask(FakeServer(), f"/v1/models/{name}", method="GET")

    assert (found.status, found.json["id"]) == (200, TEXT)


async def test_a_model_that_is_not_there_is_not_found() -> None:
    async with sdk(FakeServer()) as client:
        with pytest.raises(openai.NotFoundError, match="3042: there is no model gpt") as refused:
            await client.models.retrieve("gpt")

    assert (refused.value.param, refused.value.code) == ("model", "invalid_model")


async def test_the_synchronous_sdk() -> None:
    def talk(base: str) -> list[str]:
        with openai.OpenAI(api_key=SECRET, base_url=base, max_retries=0) as client:
            whole = client.chat.completions.create(model=TEXT, messages=MESSAGES)
            stream = client.chat.completions.create(model=TEXT, messages=MESSAGES, stream=True)
            parts = [chunk.choices[0].delta.content or "" for chunk in stream]
            vector = client.embeddings.create(model=VECTORS, input="a").data[0].embedding
            return [whole.choices[0].message.content or "", "".join(parts), str(vector)]

    class Both(FakeServer):
        async def infer(self, request: Any) -> Any:
            self.parts = [says("ho") if request.model == TEXT else vectors([0.5])]
            return await super().infer(request)

    async with listening(Both(says("ho"))) as bound:
        said = await asyncio.to_thread(talk, f"http://{bound.http}{WITH_ACCOUNT}")

    assert said == ["ho", "ho", "[0.5]"]


async def test_no_token() -> None:
    async with sdk(FakeServer(), token="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model=TEXT, messages=MESSAGES)

    assert refused.value.code == "unauthenticated"


async def test_a_full_house() -> None:
    async with sdk(FakeServer(OutOfCapacity("full", retry_after_ms=2000))) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model=TEXT, messages=MESSAGES)

    assert refused.value.code == "out_of_capacity"
    assert refused.value.response.headers["retry-after-ms"] == "2000"
    assert "AiError: 3040: " in refused.value.message


async def test_the_sdk_tries_again_when_told_to() -> None:
    class OnceFull(FakeServer):
        async def infer(self, request: Any) -> Any:
            self.parts = [says("ho")] if self.requests else [OutOfCapacity("full")]
            return await super().infer(request)

    server = OnceFull()
    async with sdk(server) as client:
        answer = await client.with_options(max_retries=1).chat.completions.create(
            model=TEXT, messages=MESSAGES
        )

    assert answer.choices[0].message.content == "ho"
    assert [each.retry_count for each in server.requests] == [0, 1]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown model": ({"model": "gpt"}, "", "No such model gpt or task"),
    "wrong task": ({"model": VECTORS}, "model", "does text-embeddings"),
    "temperature": ({"temperature": 2.1}, "temperature", "greater than the maximum of 2"),
    "too many tokens": ({"max_completion_tokens": 900}, "max_completion_tokens", "512"),
    "no messages": ({"messages": []}, "messages", "at least 1 item"),
    "logprobs": ({"logprobs": True}, "logprobs", "not available"),
    "json": (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "expected a JSON Schema",
    ),
    "lora": ({"extra_body": {"lora": "nope"}}, "lora", "'nope'"),
}


@pytest.mark.parametrize(("change", "param", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_chat_is_refused(change: dict[str, Any], param: str, words: str) -> None:
    body: Any = {"model": TEXT, "messages": MESSAGES} | change
    async with sdk(FakeServer()) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**body)

    assert (refused.value.param or "") == param
    assert words in refused.value.message


async def test_other_dimensions_are_refused_before_the_model_runs() -> None:
    world, server = small_world("ams"), FakeServer(vectors([1, 2]))
    put(world, replace(VECTOR_MODEL, listing=Listing(properties={"output_dimensions": 2.0})))
    async with sdk(server, world=world) as client:
        with pytest.raises(openai.BadRequestError, match="9 is not what the model has: 2") as no:
            await client.embeddings.create(model=VECTORS, input="a", dimensions=9)
        await client.embeddings.create(model=VECTORS, input="a", dimensions=2)

    assert no.value.param == "dimensions"
    assert len(server.requests) == 1


async def test_null_in_a_message_stands_for_what_is_left_out() -> None:
    nulls = {"name": None, "tool_calls": None, "tool_call_id": None}
    messages: Any = [{"role": "assistant", "content": "hi", **nulls}]
    async with sdk(FakeServer(says("ho"))) as client:
        answer = await client.chat.completions.create(model=TEXT, messages=messages)

    assert answer.choices[0].message.content == "ho"


EMBEDDINGS_REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "too many": ({"input": ["a"] * 1601}, "input", "input: 1601 items are more"),
    "an empty one of many": (
        {"input": [*["a"] * 205, ""]},
        "input.205",
        "input[205]: expected at least 1",
    ),
    "an empty one": ({"input": ["a", ""]}, "input.1", "input[1]: expected at least 1"),
    "token ids": ({"input": [1, 2]}, "input.0", "expected a string, got an integer"),
    "other dimensions": ({"dimensions": 9}, "dimensions", "9 is not what the model has: 2"),
}


@pytest.mark.parametrize(
    ("change", "param", "words"), EMBEDDINGS_REFUSED.values(), ids=EMBEDDINGS_REFUSED.keys()
)
async def test_bad_embeddings_are_refused(change: dict[str, Any], param: str, words: str) -> None:
    body: Any = {"model": VECTORS, "input": "a"} | change
    async with sdk(FakeServer(vectors([1, 2]))) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.embeddings.create(**body)

    assert refused.value.param == param
    assert words in refused.value.message
