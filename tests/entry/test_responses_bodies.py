"""The bodies of OpenAI's responses in our words, and what is refused of them."""

from typing import Any

import openai
import pytest

from libs.common.errors import BadInput
from services.entry.fronts.responses_bodies import Asked
from tests.entry.fakes import TEXT, FakeServer
from tests.entry.openai_sdk import sdk


def test_calls_and_their_outputs_become_messages() -> None:
    items = [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "two"}],
        },
    ]

    messages = Asked().translate({"model": TEXT, "input": items}).ours["messages"]

    assert [each["role"] for each in messages] == ["assistant", "tool", "tool"]
    assert [each["id"] for each in messages[0]["tool_calls"]] == ["c1", "c2"]
    assert messages[1] == {"role": "tool", "tool_call_id": "c1", "content": "one"}


def test_tools_and_formats_become_those_of_chats() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": True}
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}

    ours = (
        Asked()
        .translate(
            {
                "model": TEXT,
                "input": "hi",
                "tools": [tool],
                "tool_choice": {"type": "function", "name": "f"},
                "text": {"format": form, "verbosity": "low"},
            }
        )
        .ours
    )

    function = {name: value for name, value in tool.items() if name != "type"}
    assert ours["tools"] == [{"type": "function", "function": function}]
    assert ours["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert ours["response_format"] == {"type": "json_schema", "json_schema": schema}


PLACES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a part of an item": (
        {"instructions": "i", "input": [{"role": "user", "content": "u"}]},
        "/messages/1/content/0",
        "/input/0/content/0",
    ),
    "the instructions": (
        {"instructions": "i", "input": "u"},
        "/messages/0/content",
        "/instructions",
    ),
    "a text": ({"input": "u"}, "/messages/0/content", "/input"),
    "all messages": ({"input": "u"}, "/messages", "/input"),
    "tokens": ({"input": "u"}, "/max_tokens", "/max_output_tokens"),
    "a format": ({"input": "u"}, "/response_format/type", "/text/format/type"),
    "another field": ({"input": "u"}, "/temperature", "/temperature"),
    "no field": ({"input": "u"}, "", ""),
}


@pytest.mark.parametrize(("body", "ours", "theirs"), PLACES.values(), ids=PLACES.keys())
def test_a_bad_field_is_named_as_it_was_sent(body: dict[str, Any], ours: str, theirs: str) -> None:
    asked = Asked()
    asked.translate({"model": TEXT, **body})

    error = asked.in_their_words(BadInput("name: what is wrong", pointer=ours))

    assert error.pointer == theirs
    assert str(error).endswith(": what is wrong")


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an older response": ({"previous_response_id": "resp_1"}, "previous_response_id", "kept"),
    "a conversation": ({"conversation": "conv_1"}, "conversation", "kept"),
    "background": ({"background": True}, "background", "no queue"),
    "a stored prompt": ({"prompt": {"id": "p"}}, "prompt", "stored"),
    "probabilities": ({"top_logprobs": 2}, "top_logprobs", "not available"),
    "included ones": ({"include": ["message.output_text.logprobs"]}, "include", "not available"),
    "management": ({"context_management": [{"type": "compaction"}]}, "context_management", "short"),
    "moderation": ({"extra_body": {"moderation": {"model": "m"}}}, "moderation", "moderated"),
    "a tool of theirs": ({"tools": [{"type": "web_search"}]}, "tools.0.type", "not run here"),
    "another choice": ({"tool_choice": {"type": "file_search"}}, "tool_choice", "expected auto"),
    "no input": ({"input": ""}, "input", "at least 1"),
    "no items": ({"input": []}, "input", "at least 1"),
    "a reference": ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type", "one of"),
    "an odd type": ({"input": [{"type": 7}]}, "input.0.type", "expected one of"),
    "no object": ({"input": ["x"]}, "input.0", "expected an object"),
    "a role": ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role", "expected one of"),
    "a file": (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "input.0.content.0.type",
        "expected input_text",
    ),
    "no text": (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input.0.content.0.text",
        "expected a string",
    ),
    "no content": ({"input": [{"role": "user"}]}, "input.0.content", "a string or an array"),
    "an image": (
        {
            "instructions": "i",
            "input": [
                {"role": "user", "content": "u"},
                {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]},
            ],
        },
        "input.1.content.0",
        "text alone",
    ),
    "too many tokens": ({"max_output_tokens": 900}, "max_output_tokens", "512"),
    "temperature": ({"temperature": 3}, "temperature", "maximum of 2"),
    "unknown model": ({"model": "gpt"}, "", "No such model"),
}


@pytest.mark.parametrize(("change", "param", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_response_is_refused(change: dict[str, Any], param: str, words: str) -> None:
    server = FakeServer()
    async with sdk(server) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**({"model": TEXT, "input": "hi"} | change))

    assert (refused.value.param or "") == param
    assert words in refused.value.message
    assert not server.requests
