"""What is answered: JSON as Python's values, anything else as bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from constellation_client.pb import binding_pb2 as pb

JSON = "application/json"


class Binary(bytes):
    """Bytes with their content type: an image, or speech."""

    content_type: str

    def __new__(cls, content: bytes, content_type: str) -> Binary:
        """Make bytes that know what they are."""
        made = super().__new__(cls, content)
        made.content_type = content_type
        return made


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the account may run."""

    name: str
    task: str
    description: str


def read(response: pb.RunResponse | pb.RunStreamResponse) -> Any:
    """Return an answer, or a part of one."""
    kind = response.content_type
    if kind and kind.partition(";")[0] != JSON:
        return Binary(response.body, kind)
    return json.loads(response.body)


def models(response: pb.ModelsResponse) -> list[Model]:
    """Return the models of a list."""
    return [Model(each.name, each.task, each.description) for each in response.models]
