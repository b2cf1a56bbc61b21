"""A task whose fields are tensors, one each: most of what there is beside text generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import NO_UNITS, Units
from libs.common.wire import Tensor
from services.entry.bad_input import bad_input
from services.entry.tasks.base import ParsedInput, Task, Templates
from services.entry.tasks.media import STAND_IN, file_bytes

Kinds = Mapping[str, str]  # the datatypes of fields, as the table in docs/models.md has them
NO_FIELDS: Final[Kinds] = {}


class TensorTask(Task):
    """Sends each field as a tensor of its name; what nobody said is not sent.

    `needed` are always there, by a default if not from the client; `optional` are sent if the
    client said them, or if the catalog has a default for them: else the model has its own.
    """

    needed: ClassVar[Kinds] = NO_FIELDS
    optional: ClassVar[Kinds] = NO_FIELDS
    elsewhere: ClassVar[tuple[str, ...]] = ()  # fields that are sent in another way, if said
    images: ClassVar[tuple[str, ...]] = ()  # fields that are files
    sounds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Model, templates: Templates) -> None:
        """Look up which defaults are the catalog's own."""
        super().__init__(model, templates)
        told = [n for n, v in model.schema.items() if isinstance(v, Mapping) and "default" in v]
        self._left_out = [name for name in (*self.optional, *self.elsewhere) if name not in told]
        kinds = {**self.needed, **self.optional}
        self._kinds = [(name, self.tensor(name), kind) for name, kind in kinds.items()]

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check the fields, and decode those that are files."""
        files = self._files(body)
        if files:
            body = {**body, **dict.fromkeys(files, STAND_IN)}
        values = self.input.read(body)
        units = self.units(values, files)
        for name in self._left_out:
            if name not in body:
                values.pop(name, None)
        values.update(files)
        return ParsedInput(values=values, units=units)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Return what is priced of the input; `values` have all defaults."""
        return NO_UNITS

    def payload(self, parsed: ParsedInput, *, stream: bool, adapter: str) -> bytes:
        """Write the fields that are there."""
        return wire.tensors_to_payload(self.tensors(parsed.values))

    def tensors(self, values: Mapping[str, Any]) -> list[Tensor]:
        """Return the fields that are there as tensors."""
        kinds = self._kinds
        return [
            tensor(theirs, kind, values[name]) for name, theirs, kind in kinds if name in values
        ]

    def _files(self, body: Mapping[str, Any]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in self.images:
            if name in body:
                found[name] = file_bytes(body[name], [name], self.limits.image_bytes)
        for name in self.sounds:
            if name in body:
                found[name] = file_bytes(body[name], [name], self.limits.audio_bytes)
        return found


def tensor(name: str, datatype: str, value: Any) -> Tensor:
    """Return a tensor with one value, or a text for each of a list."""
    if datatype == "BYTES":
        return wire.text(name, *value) if isinstance(value, list) else wire.text(name, value)
    if datatype == "BOOL":
        return wire.flag(name, value)
    return wire.number(name, datatype, value)


def exactly_one(body: Mapping[str, Any], first: str, second: str) -> None:
    """Refuse a body that has both fields, or none of them."""
    if (first in body) == (second in body):
        raise bad_input([first], f"expected exactly one of {first} and {second}")
