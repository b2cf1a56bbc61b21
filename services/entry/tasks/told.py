"""What the tensors of an answer say; ModelFailed where they do not say it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.common.errors import ModelFailed
from libs.common.wire import Tensor
from services.entry.tasks.base import Result, needed
from services.entry.tasks.schema import Schema

Tensors = Mapping[str, Tensor]
RANKED: Schema = {
    "type": "object",
    "properties": {
        "response": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "integer"}, "score": {"type": "number"}},
                "required": ["id", "score"],
            },
        }
    },
    "required": ["response"],
}
SCORED: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
        "required": ["label", "score"],
    },
}


def text_said(said: str) -> Schema:
    """Return the schema of a result that is one text."""
    return {"type": "object", "properties": {said: {"type": "string"}}, "required": [said]}


def bytes_in(tensors: Tensors, name: str) -> bytes:
    """Return the one element of a BYTES tensor."""
    elements = _elements(tensors, name)
    if len(elements) != 1:
        raise ModelFailed(f"the model's {name} has {len(elements)} elements, not one", sent=True)
    return elements[0]


def text_in(tensors: Tensors, name: str) -> str:
    """Return the one text of a BYTES tensor."""
    return bytes_in(tensors, name).decode("utf-8", "replace")


def texts_in(tensors: Tensors, name: str) -> list[str]:
    """Return the texts of a BYTES tensor."""
    return [each.decode("utf-8", "replace") for each in _elements(tensors, name)]


def numbers_in(tensors: Tensors, name: str, rows: int, columns: int = -1) -> NDArray[Any]:
    """Return rows of so many numbers, by default of as many as there are."""
    tensor = needed(tensors, name)
    try:
        return tensor.array().reshape((rows, columns))
    except (TypeError, ValueError):
        wanted = f"{rows} rows" if columns < 0 else f"{rows}x{columns}"
        found = f"{tensor.datatype}{list(tensor.shape)}"
        problem = f"the model's {name} is {found}, not {wanted} of numbers"
        raise ModelFailed(problem, sent=True) from None


def column_in(tensors: Tensors, name: str, rows: int) -> NDArray[Any]:
    """Return so many numbers."""
    return numbers_in(tensors, name, rows, 1).reshape(rows)


def scored(tensors: Tensors) -> list[Result]:
    """Return labels with their scores, the highest first."""
    labels = texts_in(tensors, "label")
    scores = column_in(tensors, "score", len(labels)).tolist()
    pairs = [{"label": each, "score": score} for each, score in zip(labels, scores, strict=True)]
    return sorted(pairs, key=lambda pair: -pair["score"])


def ranked(scores: NDArray[Any], most: int) -> Result:
    """Return the places of scores, the highest first, so many at most."""
    order = np.argsort(-scores, kind="stable")[:most]
    return {"response": [{"id": int(at), "score": float(scores[at])} for at in order]}


def _elements(tensors: Tensors, name: str) -> list[bytes]:
    tensor = needed(tensors, name)
    try:
        if tensor.datatype == "BYTES":
            return tensor.texts()
    except struct.error:
        pass
    problem = f"the model's {name} is {tensor.datatype}{list(tensor.shape)}, not texts"
    raise ModelFailed(problem, sent=True)
