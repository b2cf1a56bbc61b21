"""The last attempts as rows of any store's, and those rows as events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from libs.common.envelope import RequestSource
from libs.common.events.values import InferenceEvent
from libs.common.usage import RecordedEvent

IDENTITY = ("server", "boot_epoch", "sequence")
EVENT = InferenceEvent.__struct_fields__
SOURCES = {source.name.lower(): source for source in RequestSource}


def recorded(rows: Iterable[Sequence[Any]]) -> list[RecordedEvent]:
    """Return the rows as events."""
    return [_recorded(*row) for row in rows]


def _recorded(server: str, boot_epoch: int, sequence: int, *values: Any) -> RecordedEvent:
    event = dict(zip(EVENT, values, strict=True))
    event["request_source"] = SOURCES.get(event["request_source"], 0)
    event["visited_colos"] = tuple(event["visited_colos"])
    return RecordedEvent(
        server=server,
        boot_epoch=boot_epoch,
        sequence=sequence,
        event=InferenceEvent(**event),
    )
