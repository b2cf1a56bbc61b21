"""What text-generation needs of a dialect: an input becomes a payload, an answer becomes text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from libs.common.catalog import Model
from libs.common.envelope import PayloadKind
from services.entry.tasks.so_far import Told

SAMPLING: Final = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)


class PartsReader(Protocol):
    """Reads the parts of a model's streams."""

    def read(self, payloads: Sequence[bytes]) -> list[tuple[list[bytes], Told]]:
        """Return the texts of parts, and what each of these says beside it; in order.

        Raises KeyError for one without a text.
        """
        ...


class TextDialect(ABC):
    """One dialect for one model; holds no call's state."""

    payload_kind: ClassVar[PayloadKind] = PayloadKind.TENSORS

    def __init__(self, model: Model) -> None:
        self.model = model

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.name}>"

    def is_guided(self, values: Mapping[str, Any]) -> bool:
        """Whether the model can be made to write what fits `guide`, a JSON Schema."""
        return False

    def calls_tools(self, values: Mapping[str, Any]) -> bool:
        """Whether the server reads `tools` and tells the calls itself, and keeps to JSON itself."""
        return False

    @abstractmethod
    def reader(self) -> PartsReader:
        """Return what reads the parts of one stream."""

    @abstractmethod
    def payload(self, values: Mapping[str, Any], *, stream: bool, adapter: str) -> bytes:
        """Write an input; `text` in it is what the chat template made."""

    @abstractmethod
    def answer(self, payload: bytes) -> tuple[bytes, Told]:
        """Read a whole answer; raises ModelFailed."""

    def rest(self, values: Mapping[str, Any], text: str, tokens: int) -> Mapping[str, Any] | None:
        """Return the input that goes on after so much text, None where that cannot be asked."""
        said = {"text": values["text"] + text, "max_tokens": values["max_tokens"] - tokens}
        return {**values, **said}


def stops(values: Mapping[str, Any]) -> list[str]:
    """Return the texts at which to stop."""
    stop = values.get("stop", [])
    return [stop] if isinstance(stop, str) else list(stop)
