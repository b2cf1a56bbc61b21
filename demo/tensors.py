"""A request's tensors as plain values, and plain values as an answer's tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]


class BadInput(Exception):
    """The request cannot be answered as it is; says which field, and what would be right."""


class Inputs:
    """The inputs of one request, by name; those that were not sent have defaults."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = tensors

    def __repr__(self) -> str:
        return f"<Inputs {' '.join(self._tensors)}>"

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def data(self, name: str) -> bytes:
        """The bytes of an element; none if it was not sent."""
        values = self._values(name)
        if not len(values):
            return b""
        return values[0] if isinstance(values[0], bytes) else str(values[0]).encode()

    def text(self, name: str, default: str = "") -> str:
        """The text of an element."""
        return decoded(self.data(name)) if name in self else default

    def texts(self, name: str) -> list[str]:
        """The texts of all elements."""
        return [decoded(value) for value in self._values(name)]

    def integer(self, name: str, default: int) -> int:
        """A whole number."""
        values = self._values(name)
        return int(values[0]) if len(values) else default

    def number(self, name: str, default: float) -> float:
        """A number."""
        values = self._values(name)
        return float(values[0]) if len(values) else default

    def _values(self, name: str) -> NDArray[Any]:
        return self._tensors.get(name, np.empty(0)).reshape(-1)


def decoded(value: bytes | str) -> str:
    """A text; broken UTF-8 becomes replacement marks."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def texts(*values: str) -> NDArray[Any]:
    """Texts as a tensor."""
    return blobs(*(value.encode() for value in values))


def blobs(*values: bytes) -> NDArray[Any]:
    """Bytes as a tensor, one element each."""
    return np.array(values, dtype=np.object_)


def floats(values: Iterable[Any]) -> NDArray[Any]:
    """Numbers, or rows of numbers, as a tensor."""
    return np.array(list(values), np.float32)


def count(value: int) -> NDArray[Any]:
    """A count as a tensor."""
    return np.array([value], np.int32)
