"""Triton's side of @cf/demo/text-embeddings: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from embedder import POOLINGS, Embedder

MAXIMUM_TEXTS = 100


class BadInput(Exception):
    """The request cannot be answered as it is; says why."""


class TritonPythonModel:
    """What Triton's python backend calls; one request at a time."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load weights and tokenizer."""
        self._embedder = Embedder()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request by itself: a bad one spoils no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            texts, pooling = read_texts(request), read_pooling(request)
        except BadInput as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        vectors, tokens = self._embedder.embed(texts, pooling=pooling)
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("embedding", vectors),
                pb_utils.Tensor("num_tokens", np.array([tokens], np.int32)),
            ]
        )


def read_texts(request: Any) -> list[str]:
    """The texts of a request."""
    values = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
    if not 1 <= len(values) <= MAXIMUM_TEXTS:
        raise BadInput(f"text: 1 to {MAXIMUM_TEXTS} texts, not {len(values)}")
    return [value.decode("utf-8", "replace") for value in values]


def read_pooling(request: Any) -> str:
    """How the vectors of a text's tokens become one."""
    tensor = pb_utils.get_input_tensor_by_name(request, "pooling")
    if tensor is None:
        return POOLINGS[0]
    pooling: str = tensor.as_numpy().reshape(-1)[0].decode("utf-8", "replace")
    if pooling not in POOLINGS:
        raise BadInput(f"pooling: one of {', '.join(POOLINGS)}, not {pooling!r}")
    return pooling
