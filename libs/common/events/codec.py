"""Events to and from Cap'n Proto messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from importlib.resources import as_file, files
from operator import attrgetter
from typing import Any, Generic, TypeVar

import capnp

from libs.common.events.clamps import (
    Clamp,
    clamp_float,
    clamp_text,
    clamp_texts,
    enum_clamp,
    int_clamp,
)
from libs.common.events.values import Event, InferenceEvent, LifecycleEvent, Recorded

SCHEMA_VERSION = 1
# A larger event is encoded again with its texts cut; it ends well below twice this.
MAX_EVENT_BYTES = 16 * 1024

with as_file(files("libs.common.events") / "event.capnp") as _path:
    schema = capnp.load(str(_path))

T = TypeVar("T")


class BrokenEvent(ValueError):
    """Bytes that are no event."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: where Cap'n Proto keeps it, and what its values go through."""

    schema: Any
    # For every value of the type that the dataclass promises; None: taken as it is.
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


class _Struct(Generic[T]):
    """A dataclass beside its Cap'n Proto struct; field schemas are looked up once, for speed."""

    def __init__(self, cls: type[T], struct: Any) -> None:
        self._cls = cls
        self._names = [field.name for field in dataclass_fields(cls)]  # type: ignore[arg-type]
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
        """Return the dataclass."""
        values = dict(zip(self._names, map(reader._get_by_field, self._schemas), strict=True))
        for name, convert in self._reads:
            values[name] = convert(values[name])
        return self._cls(**values)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_event_fields = schema.Event.schema.fields
_VERSION = _event_fields["schemaVersion"]
_SERVER = _event_fields["server"]
_BOOT_EPOCH = _event_fields["bootEpoch"]
_SEQUENCE = _event_fields["sequence"]
_KINDS: dict[str, tuple[Any, _Struct[Any]]] = {
    "inference": (_event_fields["inference"], _Struct(InferenceEvent, schema.InferenceEvent)),
    "lifecycle": (_event_fields["lifecycle"], _Struct(LifecycleEvent, schema.LifecycleEvent)),
}


def encode(event: Event, *, server: str, boot_epoch: int, sequence: int) -> bytes:
    """Return one message; no value in the event makes this fail."""
    union = _KINDS["inference" if isinstance(event, InferenceEvent) else "lifecycle"]
    try:
        message, builder = _new(union[0], server, boot_epoch, sequence)
        union[1].fill(builder, event)
        data: bytes = message.to_bytes()
        if len(data) <= MAX_EVENT_BYTES:
            return data
    except (capnp.KjException, RuntimeError, TypeError, ValueError, OverflowError):
        pass  # a value out of range: write it again, clamped
    message, builder = _new(union[0], server, boot_epoch, sequence)
    union[1].fill_clamped(builder, event)
    return bytes(message.to_bytes())


def _new(kind: Any, server: str, boot_epoch: int, sequence: int) -> tuple[Any, Any]:
    message = schema.Event.new_message()
    put = message._set_by_field
    put(_VERSION, SCHEMA_VERSION)
    put(_SERVER, server)
    put(_BOOT_EPOCH, boot_epoch)
    put(_SEQUENCE, sequence)
    return message, message._init_by_field(kind)


def decode(data: bytes) -> Recorded:
    """Return what one message says."""
    try:
        with schema.Event.from_bytes(data) as message:
            return Recorded(
                server=message._get_by_field(_SERVER),
                boot_epoch=message._get_by_field(_BOOT_EPOCH),
                sequence=message._get_by_field(_SEQUENCE),
                event=_read_kind(message),
            )
    except (capnp.KjException, ValueError) as error:
        raise BrokenEvent(_first_line(error)) from error


def decode_many(data: bytes, *, first_sequence: int, count: int) -> tuple[Event | None, ...]:
    """Return exactly `count` concatenated messages, numbered from `first_sequence`."""
    events: list[Event | None] = []
    try:
        for message in schema.Event.read_multiple_bytes(data):
            if len(events) == count:
                raise BrokenEvent(f"more than the {count} events announced")
            if message._get_by_field(_SEQUENCE) != first_sequence + len(events):
                raise BrokenEvent(f"event {len(events)} is out of sequence")
            events.append(_read_kind(message))
    except (capnp.KjException, ValueError) as error:
        raise BrokenEvent(_first_line(error)) from error
    if len(events) != count:
        raise BrokenEvent(f"{len(events)} events where {count} were announced")
    return tuple(events)


def _read_kind(message: Any) -> Event | None:
    """Return the event, or None for a kind from after this reader's time."""
    try:
        kind = message._which_str()
    except capnp.KjException:
        return None
    field, struct = _KINDS[kind]
    event: Event = struct.read(message._get_by_field(field))
    return event


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
