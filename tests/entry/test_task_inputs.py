"""What tasks beside text generation take and send to a model, and what they refuse in words."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Backend, Price
from libs.common.errors import BadInput, TooLarge
from services.entry.tasks.registry import TASKS
from services.entry.tasks.sent import Sent
from tests.entry.tasks_at_work import PNG, WAV, plain, sent, task_of

B64 = base64.b64encode(PNG).decode()
CONTEXTS = [{"text": "a"}, {"text": "bcd"}]
CHAT = [
    {"role": "system", "content": "be kind"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        ],
    },
]

SENT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a text": ("text-classification", {"text": "ä"}, {"text": ["ä".encode()]}),
    "a query": (
        "text-classification",
        {"query": "q", "contexts": CONTEXTS, "top_k": 1},
        {"query": [b"q"], "contexts": [b"a", b"bcd"]},
    ),
    "a query for vectors": (
        "text-embeddings",
        {"query": "q", "contexts": CONTEXTS},
        {"text": [b"q", b"a", b"bcd"]},
    ),
    "contexts for vectors": ("text-embeddings", {"contexts": CONTEXTS}, {"text": [b"a", b"bcd"]}),
    "a prompt": ("text-to-image", {"prompt": "a"}, {"prompt": [b"a"]}),
    "all of a picture": (
        "text-to-image",
        {
            "prompt": "a",
            "negative_prompt": "b",
            "height": 256,
            "width": 512.0,
            "num_steps": 20,
            "strength": 1,
            "guidance": 7.5,
            "seed": 2**53 - 1,
            "image": B64,
            "mask": list(PNG),
        },
        {
            "prompt": [b"a"],
            "negative_prompt": [b"b"],
            "height": [256],
            "width": [512],
            "num_steps": [20],
            "strength": [1.0],
            "guidance": [7.5],
            "seed": [2**53 - 1],
            "image": [PNG],
            "mask": [PNG],
        },
    ),
    "flux's names": (
        "text-to-image",
        {"prompt": "a", "steps": 4, "image_b64": B64},
        {"prompt": [b"a"], "num_steps": [4], "image": [PNG]},
    ),
    "something to say": ("text-to-speech", {"text": "a"}, {"text": [b"a"]}),
    "melotts' name": (
        "text-to-speech",
        {"prompt": "a", "lang": "fr"},
        {"text": [b"a"], "lang": [b"fr"]},
    ),
    "how to say it": (
        "text-to-speech",
        {"text": "a", "speaker": "x", "encoding": "mp3", "container": "none", "sample_rate": 8000},
        {
            "text": [b"a"],
            "speaker": [b"x"],
            "encoding": [b"mp3"],
            "container": [b"none"],
            "sample_rate": [8000],
        },
    ),
    "sound": ("automatic-speech-recognition", {"audio": list(WAV)}, {"audio": [WAV]}),
    "sound with its type": (
        "automatic-speech-recognition",
        {"audio": {"body": B64, "contentType": "audio/wav"}},
        {"audio": [PNG]},
    ),
    "sound and what to do": (
        "automatic-speech-recognition",
        {"audio": B64, "task": "translate", "vad_filter": True, "beam_size": 3, "prefix": ""},
        {
            "audio": [PNG],
            "task": [b"translate"],
            "vad_filter": [True],
            "beam_size": [3],
            "prefix": [b""],
        },
    ),
    "a picture": ("image-classification", {"image": B64}, {"image": [PNG]}),
    "a picture as bytes": ("object-detection", {"image": PNG}, {"image": [PNG]}),
    "a picture in a URI": (
        "image-to-text",
        {"image": f"data:image/png;base64,{B64}"},
        {"image": [PNG]},
    ),
    "a question": (
        "image-to-text",
        {"image": B64, "prompt": "what?", "max_tokens": 9, "temperature": 0},
        {
            "image": [PNG],
            "prompt": [b"what?"],
            "sampling_parameters": [b'{"max_tokens":9,"temperature":0}'],
        },
    ),
    "a question that is needed": (
        "image-text-to-text",
        {"image": B64, "prompt": "what?"},
        {"image": [PNG], "prompt": [b"what?"]},
    ),
    "a picture in a message": (
        "image-text-to-text",
        {"messages": CHAT},
        {"image": [PNG], "prompt": [b"system: be kind\nuser: what?\nassistant:"]},
    ),
    "a picture beside messages": (
        "image-text-to-text",
        {"image": list(PNG), "messages": CHAT[:1]},
        {"image": [PNG], "prompt": [b"system: be kind\nassistant:"]},
    ),
    "a sentence": (
        "translation",
        {"text": "a", "target_lang": "fr"},
        {"text": [b"a"], "source_lang": [b"en"], "target_lang": [b"fr"]},
    ),
    "a long text": (
        "summarization",
        {"input_text": "a"},
        {"input_text": [b"a"], "max_length": [1024]},
    ),
    "texts and a picture": (
        "multimodal-embeddings",
        {"text": ["a", "b"], "image": B64},
        {"text": [b"a", b"b"], "image": [PNG]},
    ),
    "one text": ("multimodal-embeddings", {"text": "a"}, {"text": [b"a"]}),
    "anything": (
        "dumb-pipe",
        {"body": b"\xff", "content_type": "x/y"},
        {"body": [b"\xff"], "content_type": [b"x/y"]},
    ),
}


@pytest.mark.parametrize(("name", "body", "expected"), SENT.values(), ids=SENT)
def test_a_model_gets_what_was_said_and_no_more(
    name: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert plain(sent(task_of(name), body)) == expected


@pytest.mark.parametrize("name", TASKS)
def test_the_tensors_may_have_other_names(name: str) -> None:
    cases = [(body, expected) for task, body, expected in SENT.values() if task == name]
    body, expected = cases[-1] if cases else ({"prompt": "a"}, {"text_input": []})
    backend = Backend(tensors={field: field.upper() for field in expected})

    assert {each.upper() for each in expected} <= sent(task_of(name, backend=backend), body).keys()


REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "neither form": ("text-classification", {}, "/text", "exactly one of text and query"),
    "both forms": ("text-classification", {"text": "a", "query": "b"}, "/text", "exactly one of"),
    "no contexts": ("text-classification", {"query": "b"}, "/contexts", "required with a query"),
    "an empty text": ("text-classification", {"text": ""}, "/text", "at least 1 character"),
    "a bare context": (
        "text-classification",
        {"query": "b", "contexts": ["a"]},
        "/contexts/0",
        "expected an object, got a string",
    ),
    "an empty context": (
        "text-embeddings",
        {"contexts": [{"text": ""}]},
        "/contexts/0/text",
        "at least 1 character",
    ),
    "a query alone": ("text-embeddings", {"query": "a"}, "/contexts", "required with a query"),
    "text and contexts": (
        "text-embeddings",
        {"text": "a", "contexts": CONTEXTS},
        "/text",
        "exactly one of text and contexts",
    ),
    "no top": (
        "text-classification",
        {"query": "b", "contexts": CONTEXTS, "top_k": 0},
        "/top_k",
        "less than the minimum of 1",
    ),
    "no prompt": ("text-to-image", {}, "/prompt", "required"),
    "a long prompt": ("text-to-image", {"prompt": "a" * 2049}, "/prompt", "maximum of 2048"),
    "a small picture": ("text-to-image", {"prompt": "a", "height": 255}, "/height", "of 256"),
    "a large picture": ("text-to-image", {"prompt": "a", "width": 2049}, "/width", "of 2048"),
    "many steps": ("text-to-image", {"prompt": "a", "num_steps": 21}, "/num_steps", "of 20"),
    "steps twice": (
        "text-to-image",
        {"prompt": "a", "num_steps": 2, "steps": 2},
        "/steps",
        "the same as num_steps",
    ),
    "too strong": ("text-to-image", {"prompt": "a", "strength": 1.1}, "/strength", "maximum of 1"),
    "a huge seed": ("text-to-image", {"prompt": "a", "seed": 2**63}, "/seed", "the maximum of"),
    "a guidance": ("text-to-image", {"prompt": "a", "guidance": 1e300}, "/guidance", "of 100"),
    "a mask": ("text-to-image", {"prompt": "a", "mask": "?"}, "/mask", "not base64"),
    "nothing to say": ("text-to-speech", {}, "/text", "exactly one of text and prompt"),
    "an encoding": ("text-to-speech", {"text": "a", "encoding": "mp4"}, "/encoding", "is not one"),
    "a rate": ("text-to-speech", {"text": "a", "sample_rate": 10}, "/sample_rate", "of 8000"),
    "no sound": ("automatic-speech-recognition", {}, "/audio", "required"),
    "an address": (
        "automatic-speech-recognition",
        {"audio": "https://a/b.mp3"},
        "/audio",
        "not fetched",
    ),
    "a task": (
        "automatic-speech-recognition",
        {"audio": B64, "task": "sing"},
        "/task",
        "is not one of",
    ),
    "a body of none": (
        "automatic-speech-recognition",
        {"audio": {"body": 5, "contentType": "a/b"}},
        "/audio/body",
        "got an integer",
    ),
    "a beam": (
        "automatic-speech-recognition",
        {"audio": B64, "beam_size": 2**31},
        "/beam_size",
        "of 100",
    ),
    "no picture": ("image-classification", {}, "/image", "required"),
    "an object": ("image-classification", {"image": {"a": 1}}, "/image", "got an object"),
    "null": ("object-detection", {"image": None}, "/image", "got null"),
    "no bytes": ("object-detection", {"image": []}, "/image", "got none"),
    "a large byte": ("object-detection", {"image": [1, 256]}, "/image/1", "got 256"),
    "no question": ("image-text-to-text", {"image": B64}, "/prompt", "exactly one of prompt"),
    "no picture to ask": ("image-text-to-text", {"prompt": "a"}, "/image", "one picture, in image"),
    "two pictures": (
        "image-text-to-text",
        {"image": B64, "messages": CHAT},
        "/messages/1/content/1/image_url/url",
        "expected one picture",
    ),
    "no picture in a message": (
        "image-text-to-text",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "/messages/0/content/0/image_url/url",
        "got null",
    ),
    "a role": (
        "image-text-to-text",
        {"image": B64, "messages": [{"role": "god", "content": "a"}]},
        "/messages/0/role",
        "is not one of",
    ),
    "no messages": ("image-text-to-text", {"image": B64, "messages": 5}, "/messages", "an array"),
    "no language": ("translation", {"text": "a"}, "/target_lang", "required"),
    "a short language": ("translation", {"text": "a", "target_lang": "x"}, "/target_lang", "2"),
    "no length": ("summarization", {"input_text": "a", "max_length": 0}, "/max_length", "of 1"),
    "a huge length": (
        "summarization",
        {"input_text": "a", "max_length": 2**31},
        "/max_length",
        "maximum of 2147483647",
    ),
    "nothing to embed": ("multimodal-embeddings", {}, "/text", "at least one of text and image"),
    "no texts": ("multimodal-embeddings", {"text": []}, "/text", "at least 1 item"),
    "no bytes for a pipe": ("dumb-pipe", {"prompt": "a"}, "", "its own route alone"),
}


@pytest.mark.parametrize(("name", "body", "pointer", "words"), REFUSED.values(), ids=REFUSED)
def test_a_bad_field_is_named_with_what_would_be_right(
    name: str, body: dict[str, Any], pointer: str, words: str
) -> None:
    with pytest.raises(BadInput) as refused:
        task_of(name).parse(body)

    assert refused.value.pointer == pointer
    assert words in str(refused.value)


def test_a_default_of_the_catalogs_is_sent_and_one_of_the_tasks_is_not() -> None:
    task = task_of(
        "text-to-image", schema={"num_steps": {"default": 4.0}, "height": {"default": 512.0}}
    )

    assert plain(sent(task, {"prompt": "a"})) == {
        "prompt": [b"a"],
        "height": [512],
        "num_steps": [4],
    }


def test_a_model_may_narrow_its_task() -> None:
    task = task_of(
        "text-to-image", schema={"num_steps": {"maximum": 8.0}, "seed": {"maximum": 9.0}}
    )

    with pytest.raises(BadInput, match="num_steps: 9 is greater than the maximum of 8"):
        task.parse({"prompt": "a", "num_steps": 9})
    assert task.parse({"prompt": "a"}).units.steps == 8


def test_what_is_priced_is_told() -> None:
    drawn = task_of("text-to-image").parse({"prompt": "abc", "height": 256, "steps": 3}).units
    asked = task_of("text-classification").parse({"query": "q", "contexts": CONTEXTS}).units
    price = Price(per_audio_second=1.0)
    wav = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data"
    sound = wav + (16000).to_bytes(4, "little") + bytes(16000)
    heard = task_of("automatic-speech-recognition", price=price).parse({"audio": sound}).units
    noise = task_of("automatic-speech-recognition", price=price).parse({"audio": PNG}).units

    assert (drawn.pixels, drawn.steps, drawn.input_characters) == (256 * 512, 3, 3)
    assert asked.input_characters == 5
    assert heard.audio_seconds == 2.0
    assert noise.audio_seconds == 0.0


def test_a_pipe_takes_a_body_as_it_is() -> None:
    task = task_of("dumb-pipe")

    assert task.read(Sent(b'{"options": 1', "")) == {
        "body": b'{"options": 1',
        "content_type": "application/json",
    }
    assert task.read(Sent(b"", "image/png"))["content_type"] == "image/png"
    with pytest.raises(BadInput, match="a Content-Type that is no text"):
        task.read(Sent(b"", "a/\udcff"))


def test_a_file_may_be_too_large() -> None:
    with pytest.raises(TooLarge) as refused:
        task_of("image-classification").parse({"image": bytes(8 * 1024 * 1024 + 1)})

    assert refused.value.pointer == "/image"
    assert task_of("automatic-speech-recognition").parse({"audio": bytes(9 * 1024 * 1024)})


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=3), LEAVES)


@pytest.mark.parametrize("name", TASKS)
@given(data=st.data())
def test_any_body_is_taken_or_refused_and_nothing_else(name: str, data: st.DataObject) -> None:
    task = task_of(name)
    fields = st.sampled_from([*task.schema["properties"], "more"])
    body = data.draw(st.dictionaries(fields, VALUES | st.sampled_from([B64, CONTEXTS, CHAT])))

    with contextlib.suppress(BadInput):
        assert task.payload(task.parse(body), stream=False, adapter="")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_what_it_takes_and_answers(name: str) -> None:
    task = task_of(name)

    for schema in (task.input.document, task.output_schema()):
        jsonschema_rs.validator_for(dict(schema))
