"""Events to and from Cap'n Proto messages."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any, Final

import capnp

from libs.common.events.fields import Fields
from libs.common.events.occurrences import Occurrence
from libs.common.events.packing import NOT_PACKED, Packer
from libs.common.events.values import Event, InferenceEvent, LifecycleEvent, Recorded

SCHEMA_VERSION: Final = 1
# A larger event is encoded again with its texts cut; it ends well below twice this.
MAX_EVENT_BYTES: Final = 16 * 1024

with as_file(files("libs.common.events") / "event.capnp") as _path:
    schema = capnp.load(str(_path))


class BrokenEvent(ValueError):
    """Bytes that are no event."""


_event_fields = schema.Event.schema.fields
_VERSION: Final = _event_fields["schemaVersion"]
_SERVER: Final = _event_fields["server"]
_BOOT_EPOCH: Final = _event_fields["bootEpoch"]
_SEQUENCE: Final = _event_fields["sequence"]
INFERENCE_NODE = schema.InferenceEvent.schema.node
INFERENCE_KIND = _event_fields["inference"].proto.discriminantValue
_INFERENCE = Fields(InferenceEvent, schema.InferenceEvent)
INFERENCE_SLOTS = _INFERENCE.slots
_KINDS: Final[dict[str, tuple[Any, Fields[Any]]]] = {
    "inference": (_event_fields["inference"], _INFERENCE),
    "lifecycle": (_event_fields["lifecycle"], Fields(LifecycleEvent, schema.LifecycleEvent)),
}
_PACKER: Final = Packer(
    schema.InferenceEvent.schema,
    slots=INFERENCE_SLOTS,
    version=SCHEMA_VERSION,
    kind=INFERENCE_KIND,
)


def encode(event: Event | Occurrence, *, server: str, boot_epoch: int, sequence: int) -> bytes:
    """Return one message; no value in the event makes this fail."""
    if isinstance(event, Occurrence):
        try:
            return _PACKER.pack_occurrence(
                event, server=server, boot_epoch=boot_epoch, sequence=sequence
            )
        except NOT_PACKED:
            event = event.event()
    elif isinstance(event, InferenceEvent):
        try:
            return _PACKER.pack(event, server=server, boot_epoch=boot_epoch, sequence=sequence)
        except NOT_PACKED:
            pass  # unusual
    return encode_unusual(event, server=server, boot_epoch=boot_epoch, sequence=sequence)


def encode_unusual(event: Event, *, server: str, boot_epoch: int, sequence: int) -> bytes:
    """Return the message of an event of any kind, with any values."""
    kind, fields = _KINDS["inference" if isinstance(event, InferenceEvent) else "lifecycle"]
    try:
        message, builder = _new(kind, server, boot_epoch, sequence)
        fields.fill(builder, event)
        data: bytes = message.to_bytes()
        if len(data) <= MAX_EVENT_BYTES:
            return data
    except (capnp.KjException, RuntimeError, TypeError, ValueError, OverflowError):
        pass  # a value out of range: write it again, clamped
    message, builder = _new(kind, server, boot_epoch, sequence)
    fields.fill_clamped(builder, event)
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
    field, fields = _KINDS[kind]
    event: Event = fields.read(message._get_by_field(field))
    return event


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
