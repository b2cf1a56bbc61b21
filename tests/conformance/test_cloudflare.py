"""The official `cloudflare` SDK, unmodified, against a running system."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudflare as sdk
import pytest
from cloudflare import AsyncCloudflare, Cloudflare

from tests.system.harness import ACCOUNT, CHAT, EMBED, TOKEN, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
QUEUED = {"queueRequest": "true"}
REQUIRED = {"tool_choice": "required"}
ASKED: dict[str, Any] = {"messages": MESSAGES, "temperature": 0.0, "max_tokens": 40}


def run(client: Cloudflare, model: str = CHAT, **inputs: Any) -> Any:
    """Run a model; each of the SDK's overloads knows the inputs of one task."""
    return client.ai.run(model, account_id=ACCOUNT, **inputs)


def streamed(client: Cloudflare, **inputs: Any) -> list[Any]:
    """Read a stream as the SDK's users do: line by line, to the end that must be told."""
    with client.ai.with_streaming_response.run(  # type: ignore[call-overload]
        CHAT, account_id=ACCOUNT, stream=True, **inputs
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [each.removeprefix("data: ") for each in answer.iter_lines() if each]
    assert lines.pop() == "[DONE]"
    return [json.loads(each) for each in lines]


def test_text_is_generated(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, **ASKED)

    assert "Paris" in answer["response"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_finetune_is_asked_for_by_name(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, lora="pirate", **ASKED)

    assert answer["response"].startswith("Ahoy, matey!")
    assert not run(cloudflare, **ASKED)["response"].startswith("Ahoy")


def test_a_stream_says_the_same_with_padding_and_usage(cloudflare: Cloudflare) -> None:
    *parts, last = streamed(cloudflare, **ASKED)

    answer = run(cloudflare, **ASKED)
    assert "".join(each["response"] for each in parts) == answer["response"]
    assert all(each["p"] for each in parts)
    assert last["usage"] == answer["usage"]


def test_texts_are_embedded(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, EMBED, text=["a cat", "a kitten"])

    assert answer["shape"] == [2, 384]
    assert [len(each) for each in answer["data"]] == [384, 384]


def test_bad_input_names_the_field(cloudflare: Cloudflare) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        run(cloudflare, prompt="x", max_tokens=100_000)

    (error,) = refused.value.errors
    assert error.code == 5006
    assert "max_tokens" in str(error.message)
    assert refused.value.body["errors"][0]["source"]["pointer"] == "/max_tokens"  # type: ignore[index]


def test_an_unknown_model_is_told(cloudflare: Cloudflare) -> None:
    with pytest.raises(sdk.BadRequestError, match="5007"):
        run(cloudflare, "@cf/nobody/nothing", prompt="x")


def test_a_wrong_token_is_told(base_url: str) -> None:
    with (
        Cloudflare(api_token="wrong", base_url=base_url) as stranger,
        pytest.raises(sdk.AuthenticationError, match="10000"),
    ):
        run(stranger, prompt="x")


def test_models_are_listed_to_the_end(cloudflare: Cloudflare) -> None:
    pages = cloudflare.ai.models.list(account_id=ACCOUNT, per_page=1)

    found: list[Any] = list(pages)  # the SDK asks for the next page until one is empty
    assert {CHAT, EMBED} <= {each["name"] for each in found}
    assert len({each["id"] for each in found}) == len(found)
    assert pages.result_info is not None
    assert (pages.result_info.page, pages.result_info.per_page) == (1, 1)


def test_models_are_searched(cloudflare: Cloudflare) -> None:
    wish: dict[str, Any] = {"task": "Text Generation", "author": "demo", "source": 1}
    wish |= {"search": "tiny", "hide_experimental": True, "include_deprecated": False}
    found: list[Any] = list(cloudflare.ai.models.list(account_id=ACCOUNT, **wish))

    assert [each["name"] for each in found] == [CHAT]
    assert found[0]["task"]["name"] == "Text Generation"
    assert {"property_id": "lora", "value": "true"} in found[0]["properties"]


def test_models_are_listed_as_openrouter_does(cloudflare: Cloudflare) -> None:
    found: list[Any] = list(cloudflare.ai.models.list(account_id=ACCOUNT, format="openrouter"))

    assert {each["id"]: each["context_length"] for each in found}[CHAT] == 512


def test_a_models_schema_is_told(cloudflare: Cloudflare) -> None:
    schema = cloudflare.ai.models.schema.get(account_id=ACCOUNT, model=CHAT)

    assert schema.input.type == "object"
    assert schema.to_dict()["input"]["properties"]["max_tokens"]["maximum"] == 512  # type: ignore[index]
    assert schema.output.additional_properties
    with pytest.raises(sdk.NotFoundError, match="3042"):
        cloudflare.ai.models.schema.get(account_id=ACCOUNT, model="@cf/nobody/nothing")


def test_tasks_and_authors_are_listed(cloudflare: Cloudflare) -> None:
    tasks: list[Any] = list(cloudflare.ai.tasks.list(account_id=ACCOUNT))
    authors: list[Any] = list(cloudflare.ai.authors.list(account_id=ACCOUNT))

    assert {"Text Generation", "Text Embeddings"} <= {each["name"] for each in tasks}
    assert "demo" in {each["name"] for each in authors}


def test_options_are_taken_in_the_body_and_in_the_query(cloudflare: Cloudflare) -> None:
    busy = {"rejectIfBusy": "true"}
    one = run(cloudflare, extra_body={"options": {"rejectIfBusy": True}}, **ASKED)
    other = run(cloudflare, extra_query=busy, **ASKED)

    assert one["response"] == other["response"]
    for where in ({"extra_query": QUEUED}, {"extra_body": {"options": QUEUED}}):
        with pytest.raises(sdk.BadRequestError, match="5031"):
            run(cloudflare, prompt="x", **where)


def test_a_prompt_is_taken_as_it_is(cloudflare: Cloudflare) -> None:
    inputs = {"prompt": "User: Hello!\nAssistant:", "temperature": 0.0, "max_tokens": 5}

    assert run(cloudflare, raw=True, **inputs) == run(cloudflare, raw="true", **inputs)


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
}
WEATHER = {
    "name": "weather",
    "description": "How the weather is.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Paris"]}},
        "required": ["city"],
    },
}


@pytest.mark.parametrize(
    "schema", [PERSON, {"name": "person", "schema": PERSON, "strict": True}], ids=["bare", "named"]
)
def test_json_mode_answers_with_an_object(cloudflare: Cloudflare, schema: dict[str, Any]) -> None:
    wish = {"type": "json_schema", "json_schema": schema}

    answer = run(cloudflare, prompt="Who is it?", response_format=wish)

    assert isinstance(answer["response"]["name"], str)
    assert 0 <= answer["response"]["age"] <= 120


def test_json_mode_takes_any_object(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, prompt="Who is it?", response_format={"type": "json_object"})

    assert isinstance(answer["response"], dict)


def test_json_mode_says_when_it_cannot_be_met(cloudflare: Cloudflare) -> None:
    wish = {"type": "json_schema", "json_schema": PERSON}

    with pytest.raises(sdk.UnprocessableEntityError, match="JSON Mode couldn't be met"):
        run(cloudflare, prompt="Who is it?", response_format=wish, max_tokens=5)
    with pytest.raises(sdk.BadRequestError, match="does not stream"):
        run(cloudflare, prompt="Who is it?", response_format=wish, extra_body={"stream": True})


def test_a_tool_is_called_in_the_form_in_which_it_came(cloudflare: Cloudflare) -> None:
    asked: dict[str, Any] = {"prompt": "How is it in Oslo?", "extra_body": REQUIRED}
    function = {"type": "function", "function": WEATHER}

    (legacy,) = run(cloudflare, tools=[WEATHER], **asked)["tool_calls"]
    (call,) = run(cloudflare, tools=[function], **asked)["tool_calls"]

    assert legacy["name"] == call["function"]["name"] == "weather"
    assert legacy["arguments"]["city"] in ("Oslo", "Paris")
    assert json.loads(call["function"]["arguments"]).keys() == {"city"}


def test_a_tool_is_called_in_a_stream(cloudflare: Cloudflare) -> None:
    parts = streamed(cloudflare, prompt="How is it in Oslo?", tools=[WEATHER], extra_body=REQUIRED)

    (call,) = [each for part in parts for each in part.get("tool_calls", ())]
    assert (call["index"], call["name"]) == (0, "weather")
    assert "usage" in parts[-1]


def test_what_a_tool_said_is_taken(cloudflare: Cloudflare) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    chat = [
        *MESSAGES,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "rain"},
    ]

    assert run(cloudflare, messages=chat, tools=[WEATHER], max_tokens=20)["response"]


def test_a_busy_model_is_told_and_tried_again(cloudflare: Cloudflare) -> None:
    long = {"type": "json_schema", "json_schema": {"type": "string", "minLength": 100}}
    all_of_it = {"extra_query": {"cost": "4"}, "response_format": long, "prompt": "x"}

    def call(**options: Any) -> Any:
        asked = {"extra_query": {"rejectIfBusy": "true"}, "prompt": "x", "max_tokens": 2}
        return run(cloudflare.with_options(**options), **asked)  # type: ignore[arg-type]

    with ThreadPoolExecutor(2) as pool:  # there may be a second instance by now
        busy = [pool.submit(run, cloudflare, **all_of_it) for _ in range(2)]
        with pytest.raises(sdk.RateLimitError, match="3040") as refused:
            until(lambda: not call(max_retries=0), seconds=10, what="a refusal")
        patient = call(max_retries=10)
        for each in busy:
            assert len(each.result()["response"]) >= 100

    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert refused.value.response.headers["x-should-retry"] == "true"
    assert "response" in patient


def test_the_raw_answer_has_our_headers(cloudflare: Cloudflare) -> None:
    raw = cloudflare.ai.with_raw_response.run(  # type: ignore[call-overload]
        CHAT, account_id=ACCOUNT, extra_headers={"x-request-id": "mine-7"}, **ASKED
    )

    assert raw.headers["x-request-id"] == "mine-7"
    assert len(raw.headers["x-constellation-request-id"]) == 26
    assert "Paris" in raw.parse()["response"]


async def test_the_asynchronous_client_is_served_alike(
    base_url: str, cloudflare: Cloudflare
) -> None:
    async with AsyncCloudflare(api_token=TOKEN, base_url=base_url) as client:
        answer: Any = await client.ai.run(CHAT, account_id=ACCOUNT, **ASKED)
        names = [each["name"] async for each in client.ai.models.list(account_id=ACCOUNT)]  # type: ignore[index]

    assert answer["response"] == run(cloudflare, **ASKED)["response"]
    assert CHAT in names
