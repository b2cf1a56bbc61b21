"""OpenAI's responses, judged by the official SDK."""

import asyncio
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import OutOfCapacity, StreamLost
from services.entry.fronts.openai_bodies import Translated
from services.entry.fronts.responses_answers import Response
from services.entry.fronts.responses_frames import ResponseFrames
from services.entry.tasks.texts import Texts
from tests.entry.asking import ask
from tests.entry.fakes import TEXT, FakeServer, says
from tests.entry.gateways import call, gateway
from tests.entry.openai_sdk import BY_TOKEN, WITH_ACCOUNT, sdk

CALLS = [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "time", "arguments": {}}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("base", [WITH_ACCOUNT, BY_TOKEN], ids=["account", "token"])
async def test_a_response(base: str) -> None:
    server = FakeServer(says("ho", "stop"))
    async with sdk(server, base=base) as client:
        answer = await client.responses.create(
            model=TEXT,
            instructions="Be kind.",
            input="hi",
            max_output_tokens=7,
            temperature=0,
            metadata={"a": "b"},
            store=True,
            user="u",
        )

    assert answer.output_text == "ho"
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert (answer.model, answer.object, answer.temperature) == (TEXT, "response", 0)
    assert answer.id == f"resp_{server.requests[0].request_id}"
    assert (answer.metadata, answer.max_output_tokens) == ({"a": "b"}, 7)
    assert answer.model_dump()["store"] is False
    assert answer.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 2)
    assert answer.usage.input_tokens_details.cached_tokens == 0
    assert b"<system>Be kind.<user>hi<assistant>" in server.requests[0].payload
    assert b'"max_tokens":7' in server.requests[0].payload


async def test_a_response_that_was_cut_says_so() -> None:
    async with sdk(FakeServer(says("ho", "length"))) as client:
        answer = await client.responses.create(model=TEXT, input="hi")

    assert answer.status == "incomplete"
    assert answer.incomplete_details
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output_text == "ho"


async def test_a_conversation_as_items() -> None:
    server = FakeServer(says("ho"))
    items: Any = [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "input_text", "text": "u1"}]},
        {"type": "reasoning", "id": "r", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "content": [{"type": "output_text", "text": "a1", "annotations": []}],
        },
        {"type": "message", "role": "user", "content": "u2"},
    ]
    async with sdk(server) as client:
        await client.responses.create(model=TEXT, input=items)

    assert b"<system>d<user>u1<assistant>a1<user>u2<assistant>" in server.requests[0].payload


async def test_what_was_answered_can_be_sent_again() -> None:
    server = FakeServer(says("ho"))
    async with sdk(server) as client:
        first = await client.responses.create(model=TEXT, input="hi")
        items: Any = [
            {"role": "user", "content": "hi"},
            *first.output,
            {"role": "user", "content": "?"},
        ]
        await client.responses.create(model=TEXT, input=items)

    assert b"<user>hi<assistant>ho<user>?<assistant>" in server.requests[1].payload


EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


async def test_a_streamed_response_has_its_events_in_order() -> None:
    async with sdk(FakeServer(says("a"), says("b"), says("", "stop"))) as client:
        stream = await client.responses.create(model=TEXT, input="hi", stream=True)
        events: list[Any] = [event async for event in stream]

    assert [event.type for event in events] == EVENTS
    assert [event.sequence_number for event in events] == list(range(len(EVENTS)))
    assert [event.delta for event in events[4:6]] == ["a", "b"]
    assert events[6].text == "ab"
    assert len({event.item_id for event in (*events[3:8],)}) == 1
    whole = events[-1].response
    assert (whole.output_text, whole.status, whole.usage.total_tokens) == ("ab", "completed", 5)
    assert events[0].response.status == "in_progress"
    assert events[0].response.id == whole.id


async def test_the_sdks_own_stream_adds_up_to_the_whole() -> None:
    server = FakeServer(says("a"), says("b", "length"))
    async with sdk(server) as client, client.responses.stream(model=TEXT, input="hi") as stream:
        kinds = [event.type async for event in stream]

    assert kinds[-1] == "response.incomplete"


async def test_each_event_is_named() -> None:
    body = {"model": TEXT, "input": "hi", "stream": True}
    answer = await ask(FakeServer(says("a", "stop")), f"{BY_TOKEN}/responses", json=body)

    *events, done, rest = answer.body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    for event in events:
        name, data = event.split(b"\n")
        told = orjson.loads(data.removeprefix(b"data: "))
        assert name == f"event: {told['type']}".encode()


async def test_a_response_of_nothing_is_whole_too() -> None:
    async with sdk(FakeServer(says("", "stop"))) as client:
        stream = await client.responses.create(model=TEXT, input="hi", stream=True)
        events: list[Any] = [event async for event in stream]

    assert [each.type for each in events] == [each for each in EVENTS if "delta" not in each]
    assert events[-1].response.output_text == ""


async def test_a_response_that_breaks_is_failed_and_raises_in_the_sdk() -> None:
    last: Any = None
    async with sdk(FakeServer(says("a"), StreamLost("broke")), continue_times=0) as client:
        stream = await client.responses.create(model=TEXT, input="hi", stream=True)

        with pytest.raises(openai.APIError, match="AiError: 3045: broke"):
            while True:
                last = await anext(stream)

    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error.code == "stream_lost"


async def test_a_refusal_before_the_first_event_is_a_plain_error() -> None:
    async with sdk(FakeServer(OutOfCapacity("full", retry_after_ms=2000))) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.responses.create(model=TEXT, input="hi", stream=True)

    assert refused.value.response.headers["retry-after-ms"] == "2000"


async def test_closing_the_stream_stops_the_model() -> None:
    server = FakeServer(says("a"), asyncio.Event())
    async with sdk(server) as client, asyncio.timeout(5):
        stream = await client.responses.create(model=TEXT, input="hi", stream=True)
        await anext(aiter(stream))
        await stream.close()

        await server.cancelled.wait()


# --- tools ---


def a_response() -> Response:
    said = Translated(TEXT, {}, {"model": TEXT, "input": "hi"})
    return Response(said, gateway().plan(call()), "x", created=1)


def events_of(frames: ResponseFrames, *shown: Any) -> list[Any]:
    written = b"".join(frames([each]) for each in shown)
    return [orjson.loads(each.partition(b"data: ")[2]) for each in written.split(b"\n\n") if each]


def test_calls_of_tools_are_items() -> None:
    response = a_response()

    response.add({"response": "", "tool_calls": CALLS})

    first, second = response.output
    assert (first["type"], first["name"]) == ("function_call", "weather")
    assert orjson.loads(first["arguments"]) == {"city": "Paris"}
    assert first["call_id"] != second["call_id"]


def test_a_text_stands_before_the_calls_that_came_with_it() -> None:
    response = a_response()

    response.add({"response": "Let me see.", "tool_calls": CALLS[:1]})

    assert [each["type"] for each in response.output] == ["message", "function_call"]


def test_calls_of_tools_are_streamed_after_the_text() -> None:
    events = events_of(
        ResponseFrames(a_response()),
        Texts("Let me see."),
        {"response": "", "tool_calls": CALLS, "finish_reason": "tool_calls"},
        {"response": "", "usage": USAGE},
    )

    assert [each["type"].removeprefix("response.") for each in events] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.done"],
        "output_item.done",
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.done"],
        "output_item.done",
        "completed",
    ]
    assert [each["output_index"] for each in events if each["type"].endswith("item.added")] == [
        *(0, 1, 2)
    ]
    assert [each["type"] for each in events[-1]["response"]["output"]] == [
        *("message", "function_call", "function_call")
    ]


PARTS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=5).map(Texts),
        st.fixed_dictionaries(
            {"response": st.text(max_size=5)},
            optional={"tool_calls": st.lists(st.sampled_from(CALLS), max_size=2)},
        ),
    ),
    max_size=6,
)


@given(parts=PARTS, reason=st.sampled_from(["stop", "length", "tool_calls"]))
def test_whatever_is_shown_the_events_add_up_to_the_whole(parts: list[Any], reason: str) -> None:
    last = {"response": "", "finish_reason": reason, "usage": USAGE}

    events = events_of(ResponseFrames(a_response()), *parts, last)

    output = events[-1]["response"]["output"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    begun, ended = (
        [each for each in events if each["type"] == f"response.output_item.{end}"]
        for end in ("added", "done")
    )
    assert [each["item"] for each in ended] == output
    assert [each["output_index"] for each in begun] == list(range(len(output)))
    assert len({each["id"] for each in output}) == len(output)
    for index, item in enumerate(output):
        deltas = [
            each["delta"]
            for each in events
            if each["type"].endswith(".delta") and each["output_index"] == index
        ]
        is_text = item["type"] == "message"
        assert "".join(deltas) == (item["content"][0]["text"] if is_text else item["arguments"])
