"""What the events add up to: a question, and the rows that answer it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class UsageGroup(enum.IntEnum):
    """What rows are grouped by; numbered as in the proto."""

    MODEL = 1
    HOUR = 2
    FINETUNE = 3
    SOURCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which events, and one row for each what."""

    account: str = ""  # empty: all
    model: str = ""  # empty: all
    from_ms: int = 0  # inclusive; 0: from the first
    to_ms: int = 0  # exclusive; 0: to the last
    group_by: tuple[UsageGroup, ...] = (UsageGroup.MODEL,)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """Totals of one group; what was not grouped by is empty."""

    model: str = ""
    hour_ms: int = 0
    finetune: str = ""
    source: str = ""
    requests: int = 0
    errors: int = 0
    neurons: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
