"""Tools: how a model is told of them, and how its calls are told."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Backend, Model
from libs.common.envelope import InferReply
from services.entry.tasks.text_generation import TextGeneration
from services.entry.tasks.tool_text import PARSERS, TextReader, calls_in
from services.entry.tasks.tools import Tools, tools_of
from tests.entry.asking import Asked, ask
from tests.entry.fakes import (
    OUTCOME,
    TEXT_MODEL,
    FakeServer,
    says,
    sent_inputs,
    sent_sampling,
    small_world,
)
from tests.fakes import put

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "The weather.", "parameters": PLACE}
FUNCTION = {"type": "function", "function": WEATHER}
TIME = {"type": "function", "function": {"name": "time"}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
SAID = {"name": "weather", "arguments": '{"city":"Oslo"}'}
MESSAGES = [{"role": "user", "content": "How is it in Oslo?"}]
SHOWS_TOOLS = "{{ tools | tojson }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


async def ask_for(*parts: bytes, parser: str = "hermes", **body: Any) -> tuple[FakeServer, Asked]:
    """Ask a model in Triton that writes calls in this way."""
    world, server = small_world("ams"), FakeServer(*parts)
    backend = replace(TEXT_MODEL.backend, tool_parser=parser)  # type: ignore[arg-type]
    put(world, replace(TEXT_MODEL, backend=backend))
    asked = await ask(server, json={"messages": MESSAGES, **body}, world=world)
    return server, asked


async def test_a_call_is_told_in_openais_form_where_the_tools_came_in_it() -> None:
    _, asked = await ask_for(says(CALL, "stop"), tools=[FUNCTION, TIME])

    result = asked.json["result"]
    (call,) = result["tool_calls"]
    assert call["id"].startswith("call_")
    assert (call["type"], call["function"]) == ("function", SAID)
    assert (result["response"], result["finish_reason"]) == ("", "tool_calls")
    assert result["usage"]["total_tokens"] == 5


async def test_a_call_is_told_in_the_older_form_where_the_tools_came_in_it() -> None:
    _, asked = await ask_for(says("Let me see. " + CALL, "stop"), tools=[WEATHER])

    result = asked.json["result"]
    assert result["tool_calls"] == [{"name": "weather", "arguments": {"city": "Oslo"}}]
    assert result["response"] == "Let me see."


async def test_text_stays_text_where_no_tool_is_called() -> None:
    _, asked = await ask_for(says("It rains.", "stop"), tools=[FUNCTION])

    assert asked.json["result"]["response"] == "It rains."
    assert asked.json["result"]["finish_reason"] == "stop"
    assert "tool_calls" not in asked.json["result"]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>',
        "<tool_call>weather in Oslo</tool_call>",
        '<tool_call>{"name": "weather"</tool_call>',
        '<tool_call>{"name": "weather", "arguments": 7}</tool_call>',
    ],
    ids=["unknown tool", "no JSON", "cut off", "no object"],
)
async def test_what_only_looks_like_a_call_is_text(text: str) -> None:
    _, asked = await ask_for(says(text, "stop"), tools=[FUNCTION])

    assert asked.json["result"]["response"] == text
    assert "tool_calls" not in asked.json["result"]


@pytest.mark.parametrize(
    ("parser", "text", "count"),
    [
        ("hermes", CALL + "\n" + CALL, 2),
        ("llama3_json", '{"name": "weather", "parameters": {"city": "Oslo"}}', 1),
        ("llama3_json", '<|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}', 1),
        (
            "llama3_json",
            '{"name": "weather", "parameters": {"city": "Oslo"}}; '
            '{"name": "weather", "parameters": {"city": "Oslo"}}',
            2,
        ),
        ("mistral", '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}]', 1),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_each_kind_of_model_is_read_by_its_marks(
    parser: str, text: str, count: int, stream: bool
) -> None:
    parts = [says(each) for each in text] if stream else []
    _, asked = await ask_for(
        *parts, says("" if stream else text, "stop"), parser=parser, tools=[WEATHER], stream=stream
    )

    results = asked.frames if stream else [asked.json["result"]]
    calls = [call for each in results for call in each.get("tool_calls", ())]
    assert [(each["name"], each["arguments"]) for each in calls] == [
        ("weather", {"city": "Oslo"})
    ] * count
    assert "".join(each["response"] for each in results).strip() == ""


async def test_a_stream_tells_text_as_it_comes_and_a_call_once_it_is_whole() -> None:
    text = "Wait. " + CALL
    pieces = [says(text[at : at + 3]) for at in range(0, len(text), 3)]

    _, asked = await ask_for(*pieces, says("", "stop"), tools=[FUNCTION], stream=True)

    *frames, last = asked.frames
    assert "".join(each["response"] for each in frames) == "Wait. "
    (told,) = [each for each in frames if "tool_calls" in each]
    assert [(each["index"], each["function"]) for each in told["tool_calls"]] == [(0, SAID)]
    assert all(each["p"] for each in frames)
    assert [each["finish_reason"] for each in frames if "finish_reason" in each] == ["tool_calls"]
    assert last["usage"]["total_tokens"] == 5


async def test_the_chat_template_gets_tools_and_calls_as_models_know_them() -> None:
    chat = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": SAID}]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
    ]
    template = (
        "{{ tools[0].function.name }} {{ messages[1].tool_calls[0].function.arguments | tojson }}"
        " {{ messages[2].role }} {{ messages[2].content }}"
    )
    model = Model(name="m", task="text-generation", backend=Backend(chat_template="chat"))
    task = TextGeneration(model, {"chat": template}.__getitem__)

    for tool in (WEATHER, FUNCTION):
        parsed = task.parse({"messages": chat, "tools": [tool]})
        assert task.prompt(parsed) == 'weather {"city": "Oslo"} tool rain'


@pytest.mark.parametrize("tools", [{"tools": []}, {"tools": [FUNCTION], "tool_choice": "none"}])
async def test_tools_that_are_not_to_be_used_are_not_told(tools: dict[str, Any]) -> None:
    model = Model(name="m", task="text-generation", backend=Backend(chat_template="chat"))
    task = TextGeneration(model, {"chat": SHOWS_TOOLS}.__getitem__)

    assert task.prompt(task.parse({"messages": MESSAGES, **tools})).startswith("null")


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_vllm_is_guided_to_a_call_that_must_be(choice: Any, stream: bool) -> None:
    text = '{"name": "weather", "arguments": {"city": "Oslo"}}'
    server, asked = await ask_for(
        says(text, "stop"), tools=[FUNCTION], tool_choice=choice, stream=stream, parser=""
    )

    guide = orjson.loads(sent_sampling(server)["guided_decoding"])["json"]
    assert guide["properties"] == {"name": {"const": "weather"}, "arguments": PLACE}
    result = asked.frames[0] if stream else asked.json["result"]
    assert [each["function"] for each in result["tool_calls"]] == [SAID]
    assert result["finish_reason"] == "tool_calls"
    if stream:
        assert [each for each in asked.frames[1:] if "tool_calls" in each] == []
    assert sent_inputs(server)["text_input"][0].startswith(b"<user>How")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"name": ""}]}, "/tools/0/name"),
    ({"tools": [{"type": "function"}]}, "/tools/0"),
    ({"tools": [{"type": "retrieval"}]}, "/tools/0/type"),
    ({"tools": [FUNCTION] * 129}, "/tools"),
    ({"tool_choice": "required"}, "/tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": "always"}, "/tool_choice"),
    (
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "/tool_choice/function/name",
    ),
    ({"messages": [{"role": "assistant"}]}, "/messages/0"),
    ({"messages": [{"role": "assistant", "tool_calls": [1]}]}, "/messages/0/tool_calls/0"),
]


@pytest.mark.parametrize(("body", "pointer"), REFUSED)
async def test_bad_tools_are_refused_by_name(body: dict[str, Any], pointer: str) -> None:
    _, asked = await ask_for(**body)

    assert (asked.status, asked.json["errors"][0]["code"]) == (400, 5006)
    assert asked.json["errors"][0]["source"]["pointer"].startswith(pointer)


def over_http(dialect: str = "vllm", **backend: Any) -> TextGeneration:
    made = Backend(kind="openai_http", dialect=dialect, served_as="org/M", **backend)  # type: ignore[arg-type]
    model = Model(name="m", task="text-generation", backend=made)
    return TextGeneration(model, {"chat": SHOWS_TOOLS}.__getitem__)


def test_a_server_that_has_the_template_gets_tools_and_messages_as_openai_has_them() -> None:
    task = over_http()
    called = {"role": "assistant", "content": "", "tool_calls": [{"name": "weather"}]}
    wish = {"type": "json_schema", "json_schema": PLACE}
    body = {"messages": [*MESSAGES, called], "tools": [WEATHER], "tool_choice": "required"}

    sent = orjson.loads(
        task.payload(task.parse({**body, "response_format": wish}), stream=False, adapter="")
    )

    assert (sent["tools"], sent["tool_choice"]) == ([FUNCTION], "required")
    function = {"name": "weather", "arguments": "{}"}
    assert sent["messages"][1]["tool_calls"][0]["function"] == function
    assert sent["response_format"]["json_schema"]["schema"] == PLACE


@pytest.mark.parametrize(("dialect", "is_guided"), [("vllm", True), ("openai_http", False)])
def test_a_prompt_has_its_tools_in_the_text(dialect: str, is_guided: bool) -> None:
    task = over_http(dialect, chat_template="chat", tool_parser="hermes")
    body = {"messages": MESSAGES, "tools": [WEATHER], "tool_choice": "required"}

    sent = orjson.loads(task.payload(task.parse(body), stream=False, adapter=""))

    assert "weather" in sent["prompt"]
    assert "tools" not in sent
    assert ("response_format" in sent) == is_guided


def test_a_servers_calls_are_told() -> None:
    task = over_http()
    parsed = task.parse({"messages": MESSAGES, "tools": [WEATHER]})
    call = {"id": "c1", "type": "function", "function": SAID}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    usage |= {"prompt_tokens_details": {"cached_tokens": 2}}  # type: ignore[dict-item]
    choice = {"message": message, "finish_reason": "tool_calls"}
    reply = InferReply(payload=orjson.dumps({"choices": [choice], "usage": usage}), outcome=OUTCOME)

    result = task.render(parsed, reply)

    assert result["tool_calls"] == [{"name": "weather", "arguments": {"city": "Oslo"}}]
    assert result["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}


def test_a_servers_calls_are_put_together_from_their_pieces() -> None:
    task = over_http()
    parsed = task.parse({"messages": MESSAGES, "tools": [FUNCTION, TIME]})
    renderer = task.renderer(parsed)
    pieces = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather"}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": '"Oslo"}'}},
        {"index": 1, "id": "c2", "function": {"name": "time", "arguments": "{}"}},
    ]
    events = [{"choices": [{"delta": {"tool_calls": [each]}}]} for each in pieces]
    events.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    usage = {"prompt_tokens": 3, "completion_tokens": 9}
    usage |= {"prompt_tokens_details": {"cached_tokens": 1}}  # type: ignore[dict-item]
    events.append({"choices": [], "usage": usage})

    shown: list[Any] = [each for one in events for each in renderer.parts([orjson.dumps(one)])]
    last = renderer.end(OUTCOME)

    calls = [call for each in shown for call in each.get("tool_calls", ())]
    assert [(each["index"], each["id"]) for each in calls] == [(0, "c1"), (1, "c2")]
    assert calls[0]["function"] == SAID
    assert shown[-1]["finish_reason"] == "tool_calls"
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}


def test_a_stream_that_breaks_in_mid_call_does_not_go_on() -> None:
    task = over_http()
    parsed = task.parse({"messages": MESSAGES, "tools": [FUNCTION]})
    renderer = task.renderer(parsed)
    piece = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{"}}
    renderer.parts([orjson.dumps({"choices": [{"delta": {"tool_calls": [piece]}}]})])

    assert renderer.rest(parsed) is None


@given(
    text=st.lists(
        st.sampled_from(["<tool", "_call>", CALL, "<tool_call>", "</tool_call>", "a", "{", " "]),
        max_size=6,
    ).map("".join),
    cuts=st.lists(st.integers(0, 200)),
    parser=st.sampled_from(sorted(PARSERS)),
)
def test_a_text_is_read_alike_however_it_comes(text: str, cuts: list[int], parser: str) -> None:
    edges = sorted({0, len(text), *(min(each, len(text)) for each in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]

    assert read(parser, pieces) == read(parser, [text])


@given(st.text(max_size=30))
def test_a_text_without_marks_is_shown_whole(text: str) -> None:
    shown, calls = read("hermes", list(text))

    assert (shown, calls) == (text, [])


def read(parser: str, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    reader = TextReader(PARSERS[parser], frozenset({"weather"}))
    found = [*(reader.feed(each) for each in pieces), reader.end()]
    calls = [(call.name, call.arguments) for _, calls in found for call in calls]
    return "".join(text for text, _ in found), calls


@given(st.text(max_size=40))
def test_any_text_can_be_looked_through_for_calls(text: str) -> None:
    assert calls_in(text, frozenset({"weather"})) == []


def test_tools_say_what_they_are() -> None:
    tools = tools_of({"tools": [WEATHER, TIME["function"]], "tool_choice": "required"})

    assert isinstance(tools, Tools)
    assert repr(tools) == "<Tools time weather choice=required>"
    assert len(tools.forced) == 2
    assert "anyOf" in (tools.forced_schema() or {})
