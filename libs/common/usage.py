"""What the events say: questions, the totals that answer them, and the last attempts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, Self

from msgspec import Struct

from libs.common.events.values import InferenceEvent

MOST_RECENT = 1_000  # attempts of one page, and
FEW = 50  # unless told


class UsageGroup(enum.IntEnum):
    """What rows are grouped by; numbered as in the proto."""

    MODEL = 1
    HOUR = 2
    FINETUNE = 3
    SOURCE = 4
    ERROR_CODE = 5
    MINUTE = 6
    COLO = 7
    ACCOUNT = 8

    @property
    def column(self) -> str:
        """Return the field of UsageRow that tells one group from another."""
        in_time = self in (UsageGroup.HOUR, UsageGroup.MINUTE)
        return self.name.lower() + ("_ms" if in_time else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which events, and one row for each what."""

    account: str = ""  # empty: all, as for the others
    model: str = ""
    finetune: str = ""
    source: str = ""
    colo: str = ""
    error_code: int | None = None  # of the request's last attempt
    from_ms: int = 0  # inclusive; 0: from the first
    to_ms: int = 0  # exclusive; 0: to the last
    group_by: tuple[UsageGroup, ...] = (UsageGroup.MODEL,)


class UsageRow(Struct, frozen=True, kw_only=True):  # thousands are made for one answer
    """Totals of one group; what was not grouped by is empty."""

    model: str = ""
    hour_ms: int = 0
    finetune: str = ""
    source: str = ""
    error_code: int = 0
    minute_ms: int = 0
    colo: str = ""
    account: str = ""
    requests: int = 0
    errors: int = 0
    neurons: float = 0.0
    cost_usd: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    first_token_p50_ms: float = 0.0
    first_token_p95_ms: float = 0.0
    first_token_p99_ms: float = 0.0
    mean_queue_ms: float = 0.0

    @property
    def error_rate(self) -> float:
        """Return the share of the requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """Where an attempt stands among all: by its arrival, then by its identity."""

    timestamp_ms: int
    server: str = ""
    boot_epoch: int = 0
    sequence: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote, or Unix milliseconds alone. Raises ValueError."""
        numbers, _, server = text.partition("@")
        timestamp_ms, *identity = (_number(each) for each in numbers.split("."))
        if not server and not identity:
            return cls(timestamp_ms=timestamp_ms)
        boot_epoch, sequence = identity
        return cls(
            timestamp_ms=timestamp_ms, server=server, boot_epoch=boot_epoch, sequence=sequence
        )

    def __str__(self) -> str:
        return f"{self.timestamp_ms}.{self.boot_epoch}.{self.sequence}@{self.server}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentQuery:
    """Which of the last attempts."""

    account: str = ""  # empty: all
    model: str = ""  # empty: all
    limit: int = FEW
    before: Position | None = None  # None: the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """One attempt with its identity."""

    server: str
    boot_epoch: int
    sequence: int
    event: InferenceEvent

    @property
    def position(self) -> Position:
        """Return where it stands among all."""
        return Position(
            timestamp_ms=self.event.timestamp_ms,
            server=self.server,
            boot_epoch=self.boot_epoch,
            sequence=self.sequence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentPage:
    """Some of the last attempts, newest first; `next` is None after the oldest."""

    events: tuple[RecordedEvent, ...]
    next: Position | None


class UsageSource(Protocol):
    """Answers questions. Raises RequestError: BadInput, or UsageUnavailable for now."""

    async def query(self, query: UsageQuery) -> list[UsageRow]:
        """Return the rows, in the order of their groups."""
        ...

    async def recent(self, query: RecentQuery) -> RecentPage:
        """Return the last attempts, newest first."""
        ...


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:20]) >= 2**64 or len(text) > 20:
        raise ValueError(f"no position: {text[:40]!r}")
    return int(text)
