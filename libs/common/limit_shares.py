"""What entries and control tell one another of accounts' limits: use one way, shares the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """What an entry did with one limit since its last report."""

    name: str
    share: float  # of the limit, which is its own now
    asked: float = 0.0  # let through or not
    used: float = 0.0  # of neurons: on `day`
    day: int = 0  # since 1970, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How an entry stands with accounts' limits."""

    applied: int = 0  # the last answer that it acts on; 0: none yet
    even: float = 0.0  # its share of every limit that is not named
    limits: tuple[LimitUse, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Control's answer: the shares of limits that are an entry's from now on."""

    number: int
    complete: bool = False  # all of them: those that were there before are void
    even: float = 0.0  # of every limit that is not named
    shares: Mapping[str, float] = field(default_factory=dict)  # below 0: not named any more
    keep_s: float = 0.0  # they are kept so long without another answer
