"""A batch as it came: usual events as columns, all of them as structs where one asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from libs.common.events.codec import BrokenEvent, decode, decode_many
from libs.common.events.framing import decode_batch
from libs.common.events.values import Batch, Event
from services.analytics.texts import Unusual
from services.analytics.unpacking import UNPACKER, Columns, Unpacked

FEWEST = 32  # events that are worth columns: fewer are read faster one by one


class Received(Sequence[Event | None]):
    """The events of a batch, most of them in columns; structs are made when they are asked for."""

    def __init__(self, body: bytes, first_sequence: int, unpacked: Unpacked) -> None:
        self._body = body
        self._first = first_sequence
        self._events: tuple[Event | None, ...] | None = None
        self._count = len(unpacked.at) + len(unpacked.others)
        self.columns: Columns = unpacked.columns
        self.at = unpacked.at
        self.others = tuple((at, self._other(at, data)) for at, data in unpacked.others)

    def __len__(self) -> int:
        return self._count

    @property
    def has_structs(self) -> bool:
        """Whether somebody has asked for them, which costs more than the columns did."""
        return self._events is not None

    @overload
    def __getitem__(self, index: int) -> Event | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event | None]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event | None] | None:
        return self._all()[index]

    def __iter__(self) -> Iterator[Event | None]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == tuple(other)

    def __repr__(self) -> str:
        return f"<Received {self._count} events, {len(self.at)} of them in columns>"

    def count(self, value: object) -> int:
        """Return how many are so; None, an unknown kind, is never among the columns."""
        if value is None:
            return sum(event is None for _, event in self.others)
        return self._all().count(value)

    def _all(self) -> tuple[Event | None, ...]:
        if self._events is None:
            self._events = decode_many(self._body, first_sequence=self._first, count=self._count)
        return self._events

    def _other(self, at: int, data: bytes) -> Event | None:
        recorded = decode(data)
        if recorded.sequence != self._first + at:
            raise BrokenEvent(f"event {at} is out of sequence")
        return recorded.event


def read_events(data: bytes, *, first_sequence: int, count: int) -> Sequence[Event | None]:
    """Return the events of a batch. Raises BrokenEvent."""
    if count >= FEWEST:
        try:
            unpacked = UNPACKER.unpack(data, first_sequence=first_sequence, count=count)
            return Received(data, first_sequence, unpacked)
        except Unusual:
            pass  # read one by one, or refused for its reason
    return decode_many(data, first_sequence=first_sequence, count=count)


def read_batch(frame: bytes, *, max_events: int) -> Batch:
    """Return the batch in a frame, whose length has been taken off. Raises BrokenFrame."""
    return decode_batch(frame, max_events=max_events, read=read_events)
