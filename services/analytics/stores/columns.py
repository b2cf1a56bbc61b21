"""Batches as columns: what of them a store does not have yet, one array per column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import fields as struct_fields

from libs.common.envelope import RequestSource
from libs.common.events.values import Batch, Event, EventType, InferenceEvent, LifecycleEvent

Source: TypeAlias = tuple[str, int, str]  # server, boot epoch, partition
Columns: TypeAlias = dict[str, npt.NDArray[Any]]
Row: TypeAlias = tuple[str, int, int, Event]

DTYPES: dict[type, type] = {str: object, int: np.uint64, float: np.float64}


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a write adds: rows, and how far each source has come with them."""

    rows: list[Row]
    watermarks: dict[Source, int]


def fresh(batches: Iterable[Batch], watermarks: Mapping[Source, int]) -> Fresh:
    """Return the events above the watermarks, and the watermarks that they raise."""
    rows: list[Row] = []
    raised: dict[Source, int] = {}
    for batch in batches:
        source = (batch.server, batch.boot_epoch, batch.partition)
        seen = raised.get(source, watermarks.get(source, 0))
        for sequence, event in enumerate(batch.events, batch.first_sequence):
            if event is not None and sequence > seen:
                rows.append((batch.server, batch.boot_epoch, sequence, event))
        if batch.last_sequence > seen:
            raised[source] = batch.last_sequence
    return Fresh(rows, raised)


def inference_columns(rows: Sequence[Row]) -> Columns:
    """Return the table of the inference events among the rows."""
    return _INFERENCE([row for row in rows if isinstance(row[3], InferenceEvent)])


def lifecycle_columns(rows: Sequence[Row]) -> Columns:
    """Return the table of the lifecycle events among the rows."""
    return _LIFECYCLE([row for row in rows if isinstance(row[3], LifecycleEvent)])


def watermark_columns(watermarks: Mapping[Source, int]) -> Columns:
    """Return the watermarks as a table; empty, where there are none."""
    if not watermarks:
        return {}
    return {
        "server": np.array([server for server, _, _ in watermarks], dtype=object),
        "boot_epoch": np.array([epoch for _, epoch, _ in watermarks], dtype=np.uint64),
        "partition": np.array([partition for _, _, partition in watermarks], dtype=object),
        "last_sequence": np.array(list(watermarks.values()), dtype=np.uint64),
    }


class _Table:
    """Transposes rows of one kind of event: one column for each field of its struct."""

    def __init__(self, cls: type, names: Mapping[str, Callable[[int], str]]) -> None:
        """`names` has the fields whose numbers are written as words."""
        kinds = {field.name: field.type for field in struct_fields(cls)}
        self._makers = [
            (name, _words(names[name]) if name in names else _maker(kind))
            for name, kind in kinds.items()
        ]
        self._values = attrgetter(*kinds)

    def __call__(self, rows: Sequence[Row]) -> Columns:
        if not rows:
            return {}
        servers, epochs, sequences, events = zip(*rows, strict=True)
        columns: Columns = {
            "server": np.array(servers, dtype=object),
            "boot_epoch": np.array(epochs, dtype=np.uint64),
            "sequence": np.array(sequences, dtype=np.uint64),
        }
        values = zip(*map(self._values, events), strict=True)
        for (name, make), column in zip(self._makers, values, strict=True):
            columns[name] = make(column)
        return columns


def _maker(kind: Any) -> Callable[[Sequence[Any]], npt.NDArray[Any]]:
    dtype = DTYPES.get(kind)
    return _lists if dtype is None else lambda values: np.array(values, dtype=dtype)


def _words(name: Callable[[int], str]) -> Callable[[Sequence[Any]], npt.NDArray[Any]]:
    return lambda values: np.array([name(value) for value in values], dtype=object)


def _lists(values: Sequence[Sequence[str]]) -> npt.NDArray[Any]:
    column = np.empty(len(values), dtype=object)  # numpy would make lists of one length a matrix
    column[:] = [list(value) for value in values]
    return column


def _source_word(number: int) -> str:
    known = number in RequestSource._value2member_map_
    return RequestSource(number).name.lower() if known else ""


def _type_word(number: int) -> str:
    return EventType.ENDPOINT.name.lower() if number == EventType.ENDPOINT else ""


_INFERENCE = _Table(InferenceEvent, {"request_source": _source_word})
_LIFECYCLE = _Table(LifecycleEvent, {"event_type": _type_word})
