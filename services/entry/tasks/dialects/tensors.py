"""Text in Triton's tensors: vLLM's backend, and models that take the same as the seeds say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from libs.common import wire
from libs.common.answers import AnswerReader
from libs.common.catalog import Model
from libs.common.part_reader import PartReader, StreamReader
from libs.common.wire import Tensor
from services.entry.tasks.base import needed
from services.entry.tasks.dialects.base import SAMPLING, PartsReader, TextDialect, stops
from services.entry.tasks.so_far import Told


class TensorText(TextDialect):
    """What the dialects of Triton share: how an answer is read."""

    counts_per_part: ClassVar[bool] = (
        False  # a stream's part tells its own tokens, not those of all so far
    )

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._text, self._reason = self.tensor("text_output"), self.tensor("finish_reason")
        self._answers = AnswerReader()
        self._parts = PartReader(self._text, self._told)

    def reader(self) -> PartsReader:
        """Return what reads one stream, with what all of the model's have learnt."""
        return StreamReader(self._parts)

    def payload(self, values: Mapping[str, Any], *, stream: bool, adapter: str) -> bytes:
        """Write the tensors."""
        return wire.tensors_to_payload(self.tensors(values, stream, adapter))

    @abstractmethod
    def tensors(self, values: Mapping[str, Any], stream: bool, adapter: str) -> list[Tensor]:
        """Return the inputs."""

    def answer(self, payload: bytes) -> tuple[bytes, Told]:
        """Return the text, and what is told beside it."""
        tensors = self._answers.read(payload)
        return b"".join(needed(tensors, self._text).texts()), self._told(tensors)

    def tensor(self, name: str) -> str:
        """Return what the model calls one of the dialect's tensors."""
        return self.model.backend.tensors.get(name, name)

    def _told(self, tensors: Mapping[str, Tensor]) -> Told:
        usage = self.model.backend.usage
        tokens_out = wire.total(tensors.get(usage.tokens_out)) if usage.tokens_out else None
        return Told(
            reason_in(tensors.get(self._reason)),
            tokens_in=wire.total(tensors.get(usage.tokens_in)) or 0,
            tokens_out=1 if tokens_out is None else tokens_out,
            is_total=tokens_out is not None and not self.counts_per_part,
        )


class VllmText(TensorText):
    """The tensors of Triton's vLLM backend; the adapter's name is among the sampling parameters."""

    counts_per_part = True

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._is_vllm = model.backend.dialect == "vllm"

    def is_guided(self, values: Mapping[str, Any]) -> bool:
        """Whether it is vLLM: what others do with `guided_decoding` is not known."""
        return self._is_vllm

    def tensors(self, values: Mapping[str, Any], stream: bool, adapter: str) -> list[Tensor]:
        """Return the prompt, how to sample, and which outputs are wanted."""
        sampling = {name: values[name] for name in SAMPLING if name in values}
        if "stop" in values:
            sampling["stop"] = stops(values)
        if adapter and self._is_vllm:  # else the server adds a tensor
            sampling["lora_name"] = adapter
        if "guide" in values:  # JSON in JSON: older backends read nothing else
            sampling["guided_decoding"] = orjson.dumps(values["guide"]).decode()
        return [
            wire.text(self.tensor("text_input"), values["text"]),
            wire.flag(self.tensor("stream"), stream),
            wire.text(self.tensor("sampling_parameters"), orjson.dumps(sampling)),
            wire.flag(self.tensor("exclude_input_in_output"), True),
            wire.flag(self.tensor("return_finish_reason"), True),
            wire.flag(self.tensor("return_num_input_tokens"), True),
            wire.flag(self.tensor("return_num_output_tokens"), True),
        ]


class SeedsText(VllmText):
    """The same tensors, from a model of one's own that tells the tokens of all so far."""

    counts_per_part = False


def reason_in(tensor: Tensor | None) -> str:
    """Return why a text ended; vLLM writes "None" while it has not."""
    words = tensor.texts() if tensor else []
    reason = words[-1].decode("utf-8", "replace") if words else ""
    return "" if reason in ("None", "null") else reason
