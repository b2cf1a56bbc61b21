"""Tools and JSON Mode on OpenAI's routes, judged by the official SDK and its own helpers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
from pydantic import BaseModel

from tests.entry.fakes import TEXT, TEXT_MODEL, FakeServer, says, small_world
from tests.entry.openai_sdk import MESSAGES, sdk
from tests.fakes import put

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": PLACE},
}
FLAT: Any = {"type": "function", **WEATHER["function"], "strict": False}
OSLO = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ROME = OSLO.replace("Oslo", "Rome")


class Person(BaseModel):
    """What JSON Mode is to fill in."""

    name: str
    age: int


@asynccontextmanager
async def asking(*parts: bytes) -> AsyncIterator[tuple[FakeServer, openai.AsyncOpenAI]]:
    """Yield a client of a model in Triton that writes calls as Hermes does."""
    world, server = small_world("ams"), FakeServer(*parts)
    put(world, replace(TEXT_MODEL, backend=replace(TEXT_MODEL.backend, tool_parser="hermes")))
    async with sdk(server, world=world) as client:
        yield server, client


# --- tools in chats ---


async def test_calls_of_tools_have_ids_and_arguments_in_json() -> None:
    async with asking(says(OSLO + ROME, "stop")) as (_, client):
        answer = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, tools=[WEATHER]
        )

    (choice,) = answer.choices
    calls: Any = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [orjson.loads(each.function.arguments) for each in calls] == [
        {"city": "Oslo"},
        {"city": "Rome"},
    ]
    assert {each.function.name for each in calls} == {"weather"}
    assert len({each.id for each in calls}) == 2


async def test_calls_of_tools_are_streamed() -> None:
    parts = [says(each) for each in ("Well", *OSLO)]
    async with asking(*parts, says("", "stop")) as (_, client):
        stream = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, tools=[WEATHER], stream=True
        )
        choices = [chunk.choices[0] async for chunk in stream if chunk.choices]

    deltas: list[Any] = [each for c in choices for each in c.delta.tool_calls or []]
    text = "".join(each.delta.content or "" for each in choices)
    arguments = "".join(each.function.arguments for each in deltas)
    assert (text, orjson.loads(arguments)) == ("Well", {"city": "Oslo"})
    assert (deltas[0].index, deltas[0].type, deltas[0].function.name) == (0, "function", "weather")
    assert deltas[0].id
    assert [each.finish_reason for each in choices if each.finish_reason] == ["tool_calls"]


async def test_the_sdks_own_stream_puts_calls_together() -> None:
    async with asking(says(OSLO), says(ROME, "stop")) as (_, client):
        asked = client.chat.completions.stream(model=TEXT, messages=MESSAGES, tools=[WEATHER])
        async with asked as stream:
            final = await stream.get_final_completion()

    calls = final.choices[0].message.tool_calls or []
    assert [orjson.loads(each.function.arguments)["city"] for each in calls] == ["Oslo", "Rome"]


async def test_what_a_tool_said_goes_back_to_the_model() -> None:
    async with asking(says(OSLO, "stop")) as (server, client):
        first = await client.chat.completions.create(model=TEXT, messages=MESSAGES, tools=[WEATHER])
        calls: Any = first.choices[0].message.tool_calls
        told: Any = {"role": "tool", "tool_call_id": calls[0].id, "content": "It rains."}
        server.parts = [says("Rain.", "stop")]
        second = await client.chat.completions.create(
            model=TEXT, messages=[*MESSAGES, first.choices[0].message, told], tools=[WEATHER]
        )

    assert second.choices[0].message.content == "Rain."
    assert second.choices[0].finish_reason == "stop"
    assert b"<tool>It rains.<assistant>" in server.requests[-1].payload


async def test_each_choice_has_calls_of_its_own() -> None:
    async with asking(says(OSLO, "stop")) as (_, client):
        answer = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, tools=[WEATHER], n=2
        )

    calls: list[Any] = [call for c in answer.choices for call in c.message.tool_calls or []]
    assert len({call.id for call in calls}) == 2


async def test_a_tool_that_is_not_named_is_refused() -> None:
    broken: Any = {"type": "function", "function": {"description": "d"}}
    async with asking(says("")) as (server, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=TEXT, messages=MESSAGES, tools=[broken])

    assert (refused.value.param or "").startswith("tools")
    assert not server.requests


# --- tools in responses ---


async def test_a_response_calls_tools_and_hears_what_they_said() -> None:
    async with asking(says(OSLO, "stop")) as (server, client):
        items: list[Any] = [*MESSAGES]
        first = await client.responses.create(model=TEXT, input=items, tools=[FLAT])
        (item,) = first.output
        assert item.type == "function_call"
        items += [
            item,
            {"type": "function_call_output", "call_id": item.call_id, "output": "It rains."},
        ]
        server.parts = [says("Rain.", "stop")]
        second = await client.responses.create(model=TEXT, input=items, tools=[FLAT])

    assert (item.name, orjson.loads(item.arguments)) == ("weather", {"city": "Oslo"})
    assert second.output_text == "Rain."
    assert b"<tool>It rains.<assistant>" in server.requests[-1].payload


async def test_a_streamed_response_calls_tools() -> None:
    async with asking(says("Well"), says(OSLO), says(ROME, "stop")) as (_, client):
        asked = client.responses.stream(model=TEXT, input="hi", tools=[FLAT])
        async with asked as stream:
            final = await stream.get_final_response()

    assert [each.type for each in final.output] == ["message", "function_call", "function_call"]
    assert final.output_text == "Well"


# --- JSON Mode ---


async def test_a_chat_is_parsed_into_what_was_asked_for() -> None:
    async with asking(says('{"name": "Ann", "age": 7}', "stop")) as (_, client):
        answer = await client.chat.completions.parse(
            model=TEXT, messages=MESSAGES, response_format=Person
        )

    assert answer.choices[0].message.parsed == Person(name="Ann", age=7)


async def test_a_response_is_parsed_into_what_was_asked_for() -> None:
    async with asking(says('{"name": "Ann", "age": 7}', "stop")) as (_, client):
        answer = await client.responses.parse(model=TEXT, input="hi", text_format=Person)

    assert answer.output_parsed == Person(name="Ann", age=7)


async def test_json_of_no_schema_is_a_text() -> None:
    async with asking(says('{"a": [1, null]}', "stop")) as (_, client):
        answer = await client.chat.completions.create(
            model=TEXT, messages=MESSAGES, response_format={"type": "json_object"}
        )

    assert orjson.loads(answer.choices[0].message.content or "") == {"a": [1, None]}


async def test_json_in_a_stream_comes_in_one_piece() -> None:
    said = '{"name": "Ann", "age": 7}'
    async with asking(says(said, "stop")) as (server, client):
        asked = client.chat.completions.stream(
            model=TEXT, messages=MESSAGES, response_format=Person
        )
        async with asked as stream:
            final = await stream.get_final_completion()
        answering = client.responses.stream(model=TEXT, input="hi", text_format=Person)
        async with answering as stream_of_events:
            response = await stream_of_events.get_final_response()

    assert final.choices[0].message.parsed == response.output_parsed == Person(name="Ann", age=7)
    assert [each.stream for each in server.requests] == [False, False]


async def test_json_that_does_not_fit_is_an_error() -> None:
    async with asking(says('{"name": "Ann"}', "stop")) as (_, client):
        with pytest.raises(openai.APIStatusError, match="JSON Mode"):
            await client.chat.completions.parse(
                model=TEXT, messages=MESSAGES, response_format=Person
            )


async def test_a_bad_schema_of_a_response_is_named_as_it_was_sent() -> None:
    form: Any = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "nothing"}}}
    async with asking(says("{}")) as (_, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model=TEXT, input="hi", text=form)

    assert (refused.value.param or "").startswith("text.format")
