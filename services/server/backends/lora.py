"""Adapters as whole tensors, for the dialects whose models take them so.

Where the adapter's name sits inside another tensor (vLLM's sampling_parameters),
entry has put it there. Paths are those of the catalog, never a client's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import InferRequest
from libs.common.errors import FinetuneAbsent, ModelFailed, ModelRefused, RequestError

T = TypeVar("T")
ABSENT = "is not supported, we currently support"  # vLLM's words for an adapter that it has not
ABSENT_MS = 1_000  # nodes look for new ones all the time
WEIGHTS, CONFIG = "model.lora_weights.npy", "model.lora_config.npy"
FORGOTTEN = "not found in cache"  # TensorRT-LLM's words for an adapter that it has evicted


class Adapters:
    """Knows which adapters an inflight batcher has been sent; the others need no memory."""

    def __init__(self, path_of: Callable[[str], str]) -> None:
        """`path_of` returns where the catalog has a finetune's adapter, or nothing."""
        self._path_of = path_of
        self._sent: set[tuple[str, str]] = set()  # addresses and finetunes

    def __repr__(self) -> str:
        return f"<Adapters sent={len(self._sent)}>"

    async def added_to(self, request: InferRequest, address: str, model: Model) -> InferRequest:
        """Return the request as the model gets it: its adapter is in the payload. ModelFailed."""
        added = await self.tensors(address, model, request)
        made = request.copy()
        made.adapter = ""
        if added:
            made.payload = request.payload + wire.tensors_to_payload(added)
        return made

    async def tensors(self, address: str, model: Model, request: InferRequest) -> list[wire.Tensor]:
        """Return the inputs that a request's adapter adds in the model's dialect; ModelFailed."""
        name = request.adapter
        match model.backend.dialect:
            case "seeds":
                config = json.dumps({"id": request.finetune, "name": name})
                return [wire.text("lora_name", name), wire.text("lora_config", config)]
            case "tensorrt_llm_api":
                path = str(self._folder(request))
                number = _number("lora_id", request, (1,))
                return [number, wire.text("lora_name", name), wire.text("lora_path", path)]
            case "tensorrt_llm":
                number = _number("lora_task_id", request, (1, 1))
                if (address, request.finetune) in self._sent:
                    return [number]
                weights = await asyncio.to_thread(_weights, self._folder(request))
                self._sent.add((address, request.finetune))
                return [number, *weights]
            case _:
                return []

    async def run(
        self,
        ask: Callable[[InferRequest], Awaitable[T]],
        address: str,
        model: Model,
        request: InferRequest,
    ) -> T:
        """Ask with the tensors of the request's adapter; with all if the model has forgotten it."""
        adapted = await self.added_to(request, address, model)
        try:
            return await ask(adapted)
        except ModelFailed as error:
            if not self.is_forgotten(address, request, error):
                raise _meaning(error, request) from error
        return await ask(await self.added_to(request, address, model))

    def is_forgotten(self, address: str, request: InferRequest, error: RequestError) -> bool:
        """Whether the model has let go of an adapter, so that it must be sent again."""
        if not request.adapter or FORGOTTEN not in str(error):
            return False
        place = (address, request.finetune)
        was_sent = place in self._sent
        self._sent.discard(place)
        return was_sent

    def _folder(self, request: InferRequest) -> Path:
        path = self._path_of(request.finetune)
        if not path:
            raise ModelFailed(f"the catalog has no adapter of finetune {request.finetune}")
        return Path(path).absolute()


def _meaning(error: ModelFailed, request: InferRequest) -> RequestError:
    """Return what a failure is if it is the adapter's: no other call must suffer from it."""
    text = str(error)
    if ABSENT in text:  # in the model's words, which list everybody's adapters
        text = f"finetune {request.finetune} is not on this instance"
        return FinetuneAbsent(text, retry_after_ms=ABSENT_MS)
    if request.adapter in text:
        return ModelRefused(text, sent=True)
    return error


def _number(name: str, request: InferRequest, shape: tuple[int, ...]) -> wire.Tensor:
    """Return the adapter's number: of its id alone, so that all servers give it the same."""
    digest = hashlib.blake2b(request.finetune.encode(), digest_size=8).digest()
    value = int.from_bytes(digest, "little") >> 1
    return wire.Tensor(name, "UINT64", shape, value.to_bytes(8, "little"))


def _weights(folder: Path) -> list[wire.Tensor]:
    """Read what TensorRT-LLM's hf_lora_convert.py has written, with a batch of one before it."""
    try:
        weights, config = (np.load(folder / name) for name in (WEIGHTS, CONFIG))
    except (OSError, ValueError) as error:
        text = f"the adapter cannot be read, which {WEIGHTS} and {CONFIG} must hold"
        raise ModelFailed(f"{text}: {type(error).__name__}") from error
    shaped = (each.reshape(1, *each.shape[-2:]) for each in (weights, config))
    names = (("lora_weights", "FP16"), ("lora_config", "INT32"))
    pairs = zip(names, shaped, strict=True)
    return [wire.numbers(name, datatype, array) for (name, datatype), array in pairs]
