"""Our structs beside Cap'n Proto's, written and read field by field through pycapnp."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from msgspec import Struct

from libs.common.events.clamps import (
    Clamp,
    clamp_float,
    clamp_text,
    clamp_texts,
    enum_clamp,
    int_clamp,
)

T = TypeVar("T", bound=Struct)


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: where Cap'n Proto keeps it, and what its values go through."""

    schema: Any
    # For every value of the type that the event's struct promises; None: taken as it is.
    convert: Clamp | None
    # For anything at all.
    clamp: Clamp
    # From Cap'n Proto's own types to ours.
    read: Callable[[Any], Any] | None


# Raises TypeError for what is no str: pycapnp takes bytes, too, which nobody could read again.
_TEXT = str.__str__


def _texts(values: Iterable[str]) -> list[str]:
    return [_TEXT(value) for value in values]


def _field(field: Any) -> _Field:
    kind = field.proto.slot.type.which()
    if kind == "text":
        return _Field(field, _TEXT, clamp_text, None)
    if kind == "float64":
        return _Field(field, clamp_float, clamp_float, None)
    if kind == "enum":
        members = len(field.schema.enumerants)
        clamp = enum_clamp(members)
        return _Field(field, clamp, clamp, attrgetter("raw"))
    if kind == "list":
        return _Field(field, _texts, clamp_texts, tuple)
    clamp = int_clamp(2 ** int(str(kind).removeprefix("uint")) - 1)
    return _Field(field, int if field.proto.name == "flags" else None, clamp, None)


class Fields(Generic[T]):
    """Our struct beside Cap'n Proto's; field schemas are looked up once, for speed."""

    def __init__(self, cls: type[T], struct: Any) -> None:
        self._cls = cls
        self._names = cls.__struct_fields__
        self._fields = [_field(struct.schema.fields[_camel(name)]) for name in self._names]
        self._values = attrgetter(*self._names)
        self._writes = [(field.schema, field.convert) for field in self._fields]
        self._clamps = [(field.schema, field.clamp) for field in self._fields]
        self._schemas = [field.schema for field in self._fields]
        self._reads = [
            (name, field.read)
            for name, field in zip(self._names, self._fields, strict=True)
            if field.read is not None
        ]

    @property
    def slots(self) -> dict[str, Any]:
        """Return where the fields lie in a message."""
        return {
            name: field.schema.proto.slot
            for name, field in zip(self._names, self._fields, strict=True)
        }

    def fill(self, builder: Any, event: T) -> None:
        """Write the values, which have to be in range; zeros are there already."""
        put = builder._set_by_field
        for (field, convert), value in zip(self._writes, self._values(event), strict=True):
            if value:
                put(field, value if convert is None else convert(value))

    def fill_clamped(self, builder: Any, event: T) -> None:
        """Write the values, whatever they are."""
        for (field, clamp), value in zip(self._clamps, self._values(event), strict=True):
            builder._set_by_field(field, clamp(value))

    def read(self, reader: Any) -> T:
        """Return our struct."""
        values = dict(zip(self._names, map(reader._get_by_field, self._schemas), strict=True))
        for name, convert in self._reads:
            values[name] = convert(values[name])
        return self._cls(**values)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
