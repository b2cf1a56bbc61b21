"""All tasks over HTTP and gRPC: every form of a body, and answers in bytes."""

from __future__ import annotations

import base64
import io
from typing import Any

import aiohttp
import orjson
import pytest

from libs.common import wire
from libs.common.catalog import Lora, Model
from libs.common.pb import kserve_pb2 as kserve
from libs.common.world import World
from services.entry.tasks.registry import TASKS
from tests.entry.asking import AUTH, Asked, ask
from tests.entry.fakes import ACCOUNT, SECRET, FakeServer, listening, place, small_world
from tests.entry.tasks_at_work import PNG, WAV, answer
from tests.entry.test_grpc import AUTH as METADATA
from tests.entry.test_grpc import calling
from tests.entry.test_grpc import pb as binding
from tests.fakes import put

B64 = base64.b64encode(PNG).decode()
FORM = "application/x-www-form-urlencoded"
LABELS = answer(label=["a"], score=[0.5])
PICTURE = answer(image=[PNG])


def world() -> World:
    """Return a world with a model of every task."""
    made = small_world("ams")
    for task in TASKS:
        name = f"@cf/test/{task}"
        model = Model(
            name=name,
            task=task,  # type: ignore[arg-type]
            lora=Lora(enabled=True),
            base64_answers=False,
        )
        put(made, model, *place(name, "ams"))
    put(
        made,
        Model(name="@cf/test/in-base64", task="text-to-image", base64_answers=True),
        *place("@cf/test/in-base64", "ams"),
    )
    return made


async def run(server: FakeServer, task: str, data: Any, kind: str = "", **rest: Any) -> Asked:
    path = f"/client/v4/accounts/{ACCOUNT}/ai/run/@cf/test/{task}{rest.pop('query', '')}"
    headers = AUTH | ({"Content-Type": kind} if kind else {})
    return await ask(server, path, data=data, headers=headers, world=world(), **rest)


def tensors(server: FakeServer) -> dict[str, Any]:
    """Return what the server was sent, texts as bytes."""
    (request,) = server.requests
    message = kserve.ModelInferRequest.FromString(request.payload)
    pairs = zip(message.inputs, message.raw_input_contents, strict=True)
    made = [wire.Tensor(i.name, i.datatype, tuple(i.shape), raw) for i, raw in pairs]
    return {
        each.name: each.texts() if each.datatype == "BYTES" else each.array().tolist()
        for each in made
    }


def multipart(**fields: Any) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in fields.items():
        if isinstance(value, bytes):
            form.add_field(name, value, filename=f"{name}.bin")
        else:
            form.add_field(name, value)
    return form


PICTURES: dict[str, tuple[Any, str]] = {
    "bytes": (PNG, "image/png"),
    "octets": (PNG, "application/octet-stream"),
    "bytes by curl": (PNG, FORM),
    "integers": (orjson.dumps({"image": list(PNG)}), "application/json"),
    "base64": (orjson.dumps({"image": B64}), "application/json"),
    "base64 by curl": (orjson.dumps({"image": B64}), FORM),
    "a data URI": (orjson.dumps({"image": f"data:image/png;base64,{B64}"}), "application/json"),
    "a form": (b"image=" + B64.replace("+", "%2B").encode(), FORM),
    "multipart": (multipart(image=PNG), ""),
    "multipart with base64": (multipart(image=B64, more="x"), ""),
}


@pytest.mark.parametrize(("data", "kind"), PICTURES.values(), ids=PICTURES)
async def test_a_picture_reaches_the_model_however_it_was_sent(data: Any, kind: str) -> None:
    server = FakeServer(LABELS)

    asked = await run(server, "image-classification", data, kind)

    assert asked.json["result"] == [{"label": "a", "score": 0.5}]
    assert tensors(server) == {"image": [PNG]}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (WAV, "audio/wav"),
        (WAV, "audio/mpeg"),
        (orjson.dumps({"audio": {"body": list(WAV), "contentType": "audio/wav"}}), ""),
        (multipart(audio=WAV), ""),
    ],
    ids=["wav", "another type", "body and contentType", "multipart"],
)
async def test_sound_reaches_the_model_however_it_was_sent(data: Any, kind: str) -> None:
    server = FakeServer(answer(text=["hi"]))

    asked = await run(server, "automatic-speech-recognition", data, kind)

    assert asked.json["result"] == {"text": "hi", "word_count": 1}
    assert tensors(server) == {"audio": [WAV]}


async def test_a_form_has_numbers_options_and_files() -> None:
    server = FakeServer(PICTURE)
    form = multipart(
        prompt="a cat",
        num_steps="4",
        guidance="2.5",
        image=PNG,
        options='{"priority": 3}',
        stream="true",
    )

    asked = await run(server, "text-to-image", form)

    assert asked.status == 200
    assert tensors(server) == {
        "prompt": [b"a cat"],
        "num_steps": [4],
        "guidance": [2.5],
        "image": [PNG],
    }
    assert server.requests[0].priority == 3
    assert not server.requests[0].stream


async def test_a_picture_is_answered_without_an_envelope() -> None:
    asked = await run(FakeServer(PICTURE), "text-to-image", b'{"prompt": "a"}')

    assert asked.body == PNG
    assert asked.headers["Content-Type"] == "image/png"
    assert len(asked.headers["x-constellation-request-id"]) == 26
    assert int(asked.headers["Content-Length"]) == len(PNG)


async def test_a_model_may_answer_a_picture_in_base64() -> None:
    asked = await run(FakeServer(PICTURE), "in-base64", b'{"prompt": "a"}')

    assert asked.json["result"] == {"image": B64}


async def test_sound_is_answered_without_an_envelope() -> None:
    asked = await run(FakeServer(answer(audio=[WAV])), "text-to-speech", b'{"prompt": "a"}')

    assert (asked.body, asked.headers["Content-Type"]) == (WAV, "audio/wav")


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\x00\xff", "model/gltf-binary"), (b'[1, {"lora": 5}]', "application/json"), (b"", "a/b")],
    ids=["bytes", "json", "nothing"],
)
async def test_a_pipe_passes_on_body_and_type(data: bytes, kind: str) -> None:
    server = FakeServer(answer(body=[b"\xfe"], content_type=["x/y; z=1"]))

    asked = await run(server, "dumb-pipe", data, kind, query="?priority=2")

    assert (asked.body, asked.headers["Content-Type"]) == (b"\xfe", "x/y; z=1")
    assert tensors(server) == {"body": [data], "content_type": [kind.encode()]}
    assert server.requests[0].priority == 2


async def test_json_of_a_pipe_comes_in_the_envelope() -> None:
    server = FakeServer(answer(body=[b"[1]"], content_type=["application/json"]))

    asked = await run(server, "dumb-pipe", b"x", "a/b")

    assert asked.json["result"] == [1]


INPUTS: dict[str, Any] = {
    "text-classification": {"text": "a"},
    "text-to-image": {"prompt": "a"},
    "text-to-speech": {"text": "a"},
    "automatic-speech-recognition": {"audio": B64},
    "image-classification": {"image": B64},
    "object-detection": {"image": B64},
    "image-to-text": {"image": B64},
    "image-text-to-text": {"image": B64, "prompt": "a"},
    "translation": {"text": "a", "target_lang": "fr"},
    "summarization": {"input_text": "a"},
    "multimodal-embeddings": {"text": ["a"]},
    "text-embeddings": {"text": "a"},
}


@pytest.mark.parametrize("task", INPUTS)
async def test_control_fields_never_reach_a_model(task: str) -> None:
    control = {"options": {"cost": 2}, "tags": ["x"], "request_id": "r", "stream": False}
    narrow = world()
    model = narrow.model(f"@cf/test/{task}")
    assert model
    put(narrow, Model(name=model.name, task=model.task, schema={"additionalProperties": False}))
    server = FakeServer(LABELS)

    await ask(
        server,
        f"/client/v4/accounts/{ACCOUNT}/ai/run/@cf/test/{task}",
        json=INPUTS[task] | control,
        world=narrow,
    )

    assert not control.keys() & tensors(server).keys()
    assert server.requests[0].cost == 2


REFUSED: dict[str, tuple[str, Any, str, int, int, str]] = {
    "a picture for a text": ("translation", PNG, "image/png", 400, 5006, ""),
    "no base64": ("image-classification", b'{"image": "?"}', "", 400, 5004, "/image"),
    "a number": ("object-detection", b'{"image": 5}', "", 400, 5004, "/image"),
    "a large byte": ("object-detection", b'{"image": [256]}', "", 400, 5006, "/image/0"),
    "no bytes": ("object-detection", b"", "image/png", 400, 5006, "/image"),
    "no body": ("object-detection", b"", "application/json", 400, 5006, ""),
    "a large picture": ("image-to-text", bytes(5000), "image/png", 413, 3006, "/image"),
    "large sound": ("automatic-speech-recognition", bytes(5000), "audio/x", 413, 3006, "/audio"),
    "half a form": ("text-to-image", b"--x\r\n", "multipart/form-data; boundary=x", 400, 5006, ""),
    "a word for a number": ("text-to-image", b"prompt=a&seed=b", FORM, 400, 5006, "/seed"),
}


@pytest.mark.parametrize(
    ("task", "data", "kind", "status", "code", "pointer"), REFUSED.values(), ids=REFUSED
)
async def test_what_cannot_be_read_is_refused(
    task: str, data: Any, kind: str, status: int, code: int, pointer: str
) -> None:
    asked = await run(FakeServer(), task, data, kind, max_image_bytes=4000, max_audio_bytes=4000)

    (error,) = asked.json["errors"]
    assert (asked.status, error["code"]) == (status, code)
    assert error.get("source", {}).get("pointer", "") == pointer


async def test_a_binding_takes_bytes_and_answers_bytes() -> None:
    server = FakeServer(PICTURE)
    request = binding.RunRequest(
        account=ACCOUNT,
        model="@cf/test/text-to-image",
        body=b"prompt=a&num_steps=3",
        content_type=FORM,
    )

    async with calling(server, world=world()) as stub:
        answered = await stub.Run(request, metadata=METADATA, timeout=5)

    assert (answered.body, answered.content_type) == (PNG, "image/png")
    assert tensors(server) == {"prompt": [b"a"], "num_steps": [3]}


async def test_a_binding_takes_a_picture() -> None:
    server = FakeServer(LABELS)
    request = binding.RunRequest(
        account=ACCOUNT,
        model="@cf/test/image-classification",
        body=PNG,
        content_type="image/png",
    )

    async with calling(server, world=world()) as stub:
        answered = await stub.Run(request, metadata=METADATA, timeout=5)

    assert orjson.loads(answered.body) == [{"label": "a", "score": 0.5}]
    assert answered.content_type == "application/json"


async def test_a_large_array_of_integers_arrives_whole() -> None:
    picture = bytes(range(256)) * 8000
    server = FakeServer(LABELS)
    body = io.BytesIO(orjson.dumps({"image": list(picture)}))
    path = f"/client/v4/accounts/{ACCOUNT}/ai/run/@cf/test/image-classification"

    async with listening(server, world=world()) as bound, aiohttp.ClientSession() as client:
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with client.post(f"http://{bound.http}{path}", data=body, headers=headers) as reply:
            assert reply.status == 200

    assert tensors(server) == {"image": [picture]}
