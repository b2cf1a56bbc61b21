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
from services.analytics.received import Received

Source: TypeAlias = tuple[str, int, str]  # server, boot epoch, partition
Columns: TypeAlias = dict[str, npt.NDArray[Any]]
Row: TypeAlias = tuple[str, int, int, Event]

DTYPES: dict[type, type] = {str: object, int: np.uint64, float: np.float64}


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a write adds, and how far each source has come with it."""

    batches: list[tuple[Batch, int]]  # with the last sequence of each that is there already
    watermarks: dict[Source, int]

    @property
    def rows(self) -> list[Row]:
        """Return all events that are new."""
        return [
            (batch.server, batch.boot_epoch, sequence, event)
            for batch, seen in self.batches
            for sequence, event in enumerate(batch.events, batch.first_sequence)
            if event is not None and sequence > seen
        ]

    def columns(self) -> tuple[Columns, Columns]:
        """Return the tables of what is new: of inference events, and of lifecycle events."""
        tables: list[Columns] = []
        rows: list[Row] = []
        for batch, seen in self.batches:
            events = batch.events
            others: Iterable[tuple[int, Event | None]]
            if isinstance(events, Received):
                tables.append(_usual(batch, events, seen))
                others = events.others
            else:
                others = enumerate(events)
            for at, event in others:
                sequence = batch.first_sequence + at
                if event is not None and sequence > seen:
                    rows.append((batch.server, batch.boot_epoch, sequence, event))
        return _joined([*tables, inference_columns(rows)]), lifecycle_columns(rows)


def fresh(batches: Iterable[Batch], watermarks: Mapping[Source, int]) -> Fresh:
    """Return the events above the watermarks, and the watermarks that they raise."""
    new: list[tuple[Batch, int]] = []
    raised: dict[Source, int] = {}
    for batch in batches:
        source = (batch.server, batch.boot_epoch, batch.partition)
        seen = raised.get(source, watermarks.get(source, 0))
        if batch.last_sequence > seen:
            new.append((batch, seen))
            raised[source] = batch.last_sequence
    return Fresh(new, raised)


def inference_columns(rows: Sequence[Row]) -> Columns:
    """Return the table of the inference events among the rows."""
    return _INFERENCE([row for row in rows if isinstance(row[3], InferenceEvent)])


def lifecycle_columns(rows: Sequence[Row]) -> Columns:
    """Return the table of the lifecycle events among the rows."""
    return _LIFECYCLE([row for row in rows if isinstance(row[3], LifecycleEvent)])


def _usual(batch: Batch, events: Received, seen: int) -> Columns:
    """Return the columns of a batch with those of its identity, from behind what is there."""
    start = int(np.searchsorted(events.at, seen + 1 - batch.first_sequence))
    sequences = events.at[start:].astype(np.uint64) + np.uint64(batch.first_sequence)
    count = len(sequences)
    columns: Columns = {
        "server": np.full(count, batch.server, dtype=object),
        "boot_epoch": np.full(count, batch.boot_epoch, dtype=np.uint64),
        "sequence": sequences,
    }
    for name in InferenceEvent.__struct_fields__:
        if name == "visited_colos":  # events with some are not among them
            columns[name] = np.empty(count, dtype=object)
            columns[name].fill([])
        elif name == "request_source":
            known = np.minimum(events.columns[name][start:], len(SOURCES) - 1)
            columns[name] = SOURCES[known.astype(np.intp)]
        else:
            columns[name] = events.columns[name][start:]
    return columns


def _joined(tables: Sequence[Columns]) -> Columns:
    """Return tables of the same columns as one."""
    some = [table for table in tables if table and len(table["sequence"])]
    if len(some) < 2:
        return some[0] if some else {}
    return {name: np.concatenate([table[name] for table in some]) for name in some[0]}


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


SOURCES = np.array([_source_word(n) for n in range(max(RequestSource) + 1)] + [""], dtype=object)
_INFERENCE = _Table(InferenceEvent, {"request_source": _source_word})
_LIFECYCLE = _Table(LifecycleEvent, {"event_type": _type_word})
