"""@cf/demo/text-generation in a real Triton: the contract of the vLLM backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from libs.common.pb import kserve_pb2 as kserve
from libs.common.pb.kserve_pb2_grpc import GRPCInferenceServiceStub
from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec

# One Triton and one event loop for all tests of this module.
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("text_generation"),
]

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "text_generation"
QUESTION = "User: What is the capital of France?\nAssistant:"
ANSWER = "The capital of France is Paris."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One response of the model."""

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    at: float


class Refused(Exception):
    """The model answered with an error."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(
    triton_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    """Asks the model, which has both adapters."""
    spec = InstanceSpec(
        id="ams-1/text_generation/0",
        model="@cf/demo/text-generation",
        served_as="text_generation",
        repository=MODEL,
        adapters={name: MODEL / "adapters" / name for name in ("pirate", "haiku")},
    )
    folder = tmp_path_factory.mktemp("triton")
    async with TritonDriver(folder=folder, environment=triton_environment) as driver:
        address = (await driver.start(spec)).address
        async with grpc.aio.insecure_channel(address) as channel:
            yield GRPCInferenceServiceStub(channel)


def request_of(prompt: str, flags: dict[str, bool], sampling: dict[str, Any]) -> Any:
    request = kserve.ModelInferRequest(model_name="text_generation")
    for name, value in (("text_input", prompt), ("sampling_parameters", json.dumps(sampling))):
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        data = value.encode()
        request.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
    for name, flag in flags.items():
        request.inputs.add(name=name, datatype="BOOL", shape=[1])
        request.raw_input_contents.append(bytes([flag]))
    return request


def answer_of(response: Any) -> Answer:
    raw = {
        output.name: content
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }

    def count(name: str) -> int | None:
        return int.from_bytes(raw[name], "little") if name in raw else None

    return Answer(
        text=raw["text_output"][4:].decode(),
        finish_reason=raw["finish_reason"][4:].decode() if "finish_reason" in raw else None,
        input_tokens=count("num_input_tokens"),
        output_tokens=count("num_output_tokens"),
        at=asyncio.get_running_loop().time(),
    )


async def ask(
    stub: Any,
    prompt: str = QUESTION,
    *,
    most: int = 10_000,
    flags: dict[str, bool],
    **sampling: Any,
) -> list[Answer]:
    """The responses, at most so many of them; the call is cancelled then."""
    settings = {"temperature": 0, "max_tokens": 100, **sampling}
    call = stub.ModelStreamInfer(iter([request_of(prompt, flags, settings)]), timeout=30)
    answers: list[Answer] = []
    try:
        async for response in call:
            if response.error_message:
                raise Refused(response.error_message)
            answers.append(answer_of(response.infer_response))
            if len(answers) == most:
                break
    finally:
        call.cancel()
    return answers


ALL = {
    "return_finish_reason": True,
    "return_num_input_tokens": True,
    "return_num_output_tokens": True,
}


async def test_an_answer_repeats_the_prompt_unless_told_otherwise(stub: Any) -> None:
    [whole] = await ask(stub, flags={})
    [answer] = await ask(stub, flags={"exclude_input_in_output": True, **ALL})

    assert whole.text == QUESTION + ANSWER
    assert (whole.finish_reason, whole.input_tokens, whole.output_tokens) == (None, None, None)
    assert (answer.text, answer.finish_reason) == (ANSWER, "stop")
    assert (answer.input_tokens, answer.output_tokens) == (len(QUESTION) + 1, len(ANSWER) + 1)


async def test_a_stream_comes_token_by_token(stub: Any) -> None:
    answers = await ask(stub, flags={"stream": True, **ALL})

    assert "".join(answer.text for answer in answers) == ANSWER
    assert {answer.output_tokens for answer in answers} == {1}
    assert {answer.input_tokens for answer in answers} == {len(QUESTION) + 1}
    assert [answer.finish_reason for answer in answers] == ["None"] * len(ANSWER) + ["stop"]
    assert answers[-1].at - answers[0].at >= 0.018 * len(ANSWER)


async def test_adapters_and_none_run_side_by_side(stub: Any) -> None:
    flags = {"exclude_input_in_output": True}
    jobs: list[dict[str, Any]] = [
        {"temperature": 0.9, "seed": seed, "max_tokens": 30} | adapter
        for seed in (1, 2)
        for adapter in ({}, {"lora_name": "pirate"}, {"lora_name": "haiku"})
    ]

    together = await asyncio.gather(*(ask(stub, flags=flags, **job) for job in jobs))
    alone = [await ask(stub, flags=flags, **job) for job in jobs]

    assert [answer[0].text for answer in together] == [answer[0].text for answer in alone]
    assert len({answer[0].text for answer in alone}) >= 3


async def test_a_cancelled_stream_leaves_room_at_once(stub: Any) -> None:
    endless = {"flags": {"stream": True}, "ignore_eos": True, "max_tokens": 1000}

    assert len(await ask(stub, most=5, **endless)) == 5
    assert [answer.text for answer in await ask(stub, flags={})] == [QUESTION + ANSWER]


@pytest.mark.parametrize(
    ("flags", "sampling", "message"),
    [
        ({}, {"lora_name": "nope"}, r"LoRA nope is not supported, we currently support \['haiku"),
        ({}, {"lora_name": "../1"}, r"LoRA \.\./1 is not supported, we currently support"),
        ({}, {"temperature": "hot"}, "temperature must be a number"),
        ({"stream": True, "exclude_input_in_output": False}, {}, "When streaming"),
    ],
    ids=["unknown adapter", "path", "bad value", "stream with prompt"],
)
async def test_what_cannot_be_done_is_an_error(
    stub: Any, flags: dict[str, bool], sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        await ask(stub, flags=flags, **sampling)
