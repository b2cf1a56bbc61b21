"""Embeddings over OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from libs.common.errors import ModelFailed


def texts_to_body(model: str, texts: Sequence[str]) -> bytes:
    """Write the body that asks for the vectors of texts."""
    return orjson.dumps({"model": model, "input": texts, "encoding_format": "float"})


def vectors_in(payload: bytes) -> NDArray[np.generic]:
    """Read the vectors, in the order of their texts; raises ModelFailed."""
    try:
        rows: list[Any] = sorted(orjson.loads(payload)["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    except (ValueError, TypeError, LookupError) as error:
        raise ModelFailed("the model's answer cannot be read", sent=True) from error
    if vectors.ndim != 2:
        raise ModelFailed("the model's answer has no vectors", sent=True)
    return vectors
