"""Text in the tensors of TensorRT-LLM: its inflight batcher's, and its LLM-API's.

The server adds the tensors of an adapter. What they have no tensor for is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from libs.common import wire
from libs.common.wire import Tensor
from services.entry.tasks.dialects.base import stops
from services.entry.tasks.dialects.tensors import TensorText

NUMBERS: Final[Mapping[str, str]] = {
    "max_tokens": "INT32",
    "temperature": "FP32",
    "top_k": "INT32",
    "top_p": "FP32",
    "seed": "UINT64",
    "presence_penalty": "FP32",
    "frequency_penalty": "FP32",
}
SMALLEST_TEMPERATURE: Final = 1e-5  # below it the best token is taken, which they are told by top_k


class TensorRtText(TensorText):
    """The inflight batcher: every input has a batch of one before it."""

    prefix: ClassVar[str] = ""
    rows: ClassVar[tuple[int, ...]] = (1,)
    stream_flag: ClassVar[str] = "stream"
    stop_words: ClassVar[str] = "stop_words"
    numbers: ClassVar[Mapping[str, str]] = {**NUMBERS, "repetition_penalty": "FP32"}
    flags: ClassVar[tuple[str, ...]] = ("exclude_input_in_output",)

    def tensors(self, values: Mapping[str, Any], stream: bool, adapter: str) -> list[Tensor]:
        """Return the prompt, and a tensor for each thing that was said."""
        said = dict(values)
        if said["temperature"] < SMALLEST_TEMPERATURE:
            del said["temperature"]
            said["top_k"] = 1
        made = [self._shaped(wire.text(self.tensor("text_input"), said["text"]))]
        made += [
            self._shaped(wire.numbers(self.tensor(self.prefix + name), datatype, _one(said[name])))
            for name, datatype in self.numbers.items()
            if name in said
        ]
        if words := stops(said):
            made.append(self._shaped(wire.text(self.tensor(self.stop_words), *words)))
        on = {self.stream_flag: stream} | dict.fromkeys(self.flags, True)
        made += [self._shaped(wire.flag(self.tensor(name), value)) for name, value in on.items()]
        return made

    def _shaped(self, tensor: Tensor) -> Tensor:
        """Return the tensor with the dimensions before its own."""
        shape = (*self.rows, *tensor.shape)
        return Tensor(tensor.name, tensor.datatype, shape, tensor.data)


class TensorRtApiText(TensorRtText):
    """The LLM-API: names of its own for nearly everything, and no batch."""

    prefix = "sampling_param_"
    rows = ()
    stream_flag = "streaming"
    stop_words = "sampling_param_stop"
    numbers = NUMBERS
    flags = ("sampling_param_exclude_input_from_output", "return_finish_reason")


def _one(value: float) -> np.ndarray[Any, np.dtype[Any]]:
    return np.array([value])
