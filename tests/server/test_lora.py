"""Adapters as tensors: what each dialect's model gets, and when it gets all of it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from libs.common import wire
from libs.common.catalog import Backend
from libs.common.deadline import Deadline
from libs.common.errors import FinetuneAbsent, ModelFailed, ModelRefused
from libs.common.pb import kserve_pb2 as kserve
from libs.eager import Promise
from libs.lean import Method, RpcError, Status
from services.server.backends.triton import TritonBackend
from services.server.endpoints import Endpoint
from tests.fakes import a_model, a_request

HERE = Endpoint(instance="i", address="a:1", concurrency=1)
PAYLOAD = wire.tensors_to_payload([wire.text("text_input", "hi")])
EVICTED = RpcError(Status.INTERNAL, "LoRA task 7 not found in cache. Please send LoRA weights")


class Channel:
    """Keeps the tensors of each call; the next errors are raised first."""

    def __init__(self) -> None:
        self.calls: list[dict[str, tuple[str, tuple[int, ...]]]] = []
        self.errors: list[RpcError] = []

    async def unary(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> bytes:
        self._take(message)
        return b"answer"

    def stream(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> Any:
        self._take(message)
        return Stream(self.errors.pop(0) if self.errors else None)

    def _take(self, message: Sequence[bytes]) -> None:
        request = kserve.ModelInferRequest.FromString(b"".join(message))
        self.calls.append({t.name: (t.datatype, tuple(t.shape)) for t in request.inputs})
        assert len(request.inputs) == len(request.raw_input_contents)

    async def close(self) -> None:
        """Nothing is open."""


class Stream:
    """Answers, and ends, at once."""

    def __init__(self, error: RpcError | None) -> None:
        self.due = 0.0
        self._error = error

    def forward(self, sink: Any) -> Promise[None]:
        end: Promise[None] = Promise()
        if self._error:
            end.fail(self._error)
        else:
            answer = kserve.ModelStreamInferResponse(infer_response=kserve.ModelInferResponse())
            sink([answer.SerializeToString()])
            end.resolve(None)
        return end

    def cancel(self) -> None:
        """It has ended."""


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "model.lora_weights.npy", np.ones((1, 4, 8), dtype=np.float16))
    np.save(tmp_path / "model.lora_config.npy", np.array([[[0, 1, 8]] * 4], dtype=np.int32))
    return tmp_path


@pytest.fixture
def triton(channel: Channel, folder: Path) -> TritonBackend:
    return TritonBackend(lambda _: channel, adapter_path={"pirate": str(folder)}.__getitem__)


async def ask(
    triton: TritonBackend, dialect: str, *, stream: bool = False, adapter: str = "pirate"
) -> None:
    model = a_model(backend=Backend(dialect=dialect, served_as="m"))  # type: ignore[arg-type]
    request = a_request(payload=PAYLOAD, adapter=adapter, finetune=adapter)
    if stream:
        bounds = Deadline(1e9, 1e9, 9.0)
        await triton.stream(HERE, model, request, lambda _: None, deadline=bounds)
    else:
        await triton.infer(HERE, model, request, timeout_s=9)


ALL = {
    "text_input": ("BYTES", (1,)),
    "lora_task_id": ("UINT64", (1, 1)),
    "lora_weights": ("FP16", (1, 4, 8)),
    "lora_config": ("INT32", (1, 4, 3)),
}
NUMBER = {name: ALL[name] for name in ("text_input", "lora_task_id")}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_the_weights_are_sent_once_and_again_after_they_were_evicted(
    triton: TritonBackend, channel: Channel, stream: bool
) -> None:
    await ask(triton, "tensorrt_llm", stream=stream)
    await ask(triton, "tensorrt_llm", stream=stream)
    channel.errors = [EVICTED]
    await ask(triton, "tensorrt_llm", stream=stream)

    assert channel.calls == [ALL, NUMBER, NUMBER, ALL]


async def test_an_adapter_that_is_refused_with_its_weights_is_not_sent_for_ever(
    triton: TritonBackend, channel: Channel
) -> None:
    channel.errors = [EVICTED] * 9

    with pytest.raises(ModelFailed, match="not found in cache"):
        await ask(triton, "tensorrt_llm")

    assert len(channel.calls) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_an_adapter_that_is_not_there_yet_is_told_from_a_model_that_fails(
    triton: TritonBackend, channel: Channel, stream: bool
) -> None:
    channel.errors = [
        RpcError(Status.INTERNAL, "LoRA pirate is not supported, we currently support ['theirs']"),
        RpcError(Status.INTERNAL, "LoRA pirate does not fit: q_proj is (8, 4), not (8, 192)"),
        RpcError(Status.INTERNAL, "a bug"),
    ]

    with pytest.raises(FinetuneAbsent, match="pirate is not on this instance") as absent:
        await ask(triton, "vllm", stream=stream)
    assert absent.value.retry_after_ms
    assert "theirs" not in str(absent.value)
    with pytest.raises(ModelRefused, match="does not fit"):
        await ask(triton, "vllm", stream=stream)
    with pytest.raises(ModelFailed, match="a bug"):
        await ask(triton, "vllm", stream=stream)


async def test_the_llm_api_gets_number_name_and_path(
    triton: TritonBackend, channel: Channel
) -> None:
    await ask(triton, "tensorrt_llm_api")

    text, number = ("BYTES", (1,)), ("UINT64", (1,))
    names = {"lora_id": number, "lora_name": text, "lora_path": text}
    assert channel.calls == [{"text_input": text, **names}]


@pytest.mark.parametrize(
    ("dialect", "added"), [("vllm", set()), ("seeds", {"lora_name", "lora_config"})]
)
async def test_others_get_its_name(
    triton: TritonBackend, channel: Channel, dialect: str, added: set[str]
) -> None:
    await ask(triton, dialect)

    assert channel.calls[0].keys() == {"text_input", *added}


async def test_an_adapter_without_files_is_told_by_their_names(
    triton: TritonBackend, folder: Path
) -> None:
    (folder / "model.lora_config.npy").unlink()

    with pytest.raises(ModelFailed, match=r"model\.lora_config\.npy"):
        await ask(triton, "tensorrt_llm")
