"""From what each model in each region went through to how many instances there should be.

One `Series` per model and region decides; what operators allow is applied here. Values in, values
out: it reads no clock.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from libs.common.catalog import Model
from services.scheduler.controls import Controls
from services.scheduler.deciding import Decision, Series, Situation, Span
from services.scheduler.deciding.worth import worths
from services.scheduler.measuring import joined
from services.scheduler.usage import Key, Usage

MINUTE_S = 60.0
DAY_MIN = 24 * 60  # refits of a fleet are spread over hours and days
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is decided on, of a model in a region."""

    model: Model
    usage: Usage
    controls: Controls
    current: int  # instances that there should be as of now
    is_held: bool = False  # it stays so, whatever is decided
    at: float  # s since 1970 in UTC


class Spared(NamedTuple):
    """Late requests a minute that instances spare."""

    by_all: Sequence[float]  # 0, 1, ... of them
    by_each: Sequence[float]  # of the first, the second, ... on the hull of these


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How a model in a region is sized; `wanted` is what the fleet is asked for."""

    case: Case
    minute: Span
    made: Decision
    wanted: int
    spared: Spared

    @property
    def desired(self) -> int:
        """Instances that there should be, or should have been in a dry run."""
        return self.wanted if self.case.controls.frozen else self.made.instances

    @property
    def forecast(self) -> float:
        """The demand that the requirement covers."""
        return self.made.forecast * self.permits

    @property
    def permits(self) -> int:
        """What utilization is a share of: the permits of what serves, or of one instance."""
        return max(self.case.usage.running, 1) * self.case.model.permits.per_instance


class Sizer:
    """Has the series of all models and regions; those that are gone are kept as bytes."""

    def __init__(self) -> None:
        self._kept: dict[Key, bytes] = {}
        self._series: dict[Key, Series] = {}
        self._minutes: dict[Key, deque[Span]] = {}
        self._spared: dict[Key, Spared] = {}

    def __repr__(self) -> str:
        return f"<Sizer {len(self._series)} series, {len(self._kept)} kept>"

    @property
    def following(self) -> Collection[Key]:
        """All that there are series of."""
        return self._series.keys()

    def restore(self, kept: Mapping[Key, bytes]) -> None:
        """Take what was saved; each series comes back when its model does."""
        self._kept.update(kept)

    def follow(self, keys: Collection[Key]) -> None:
        """Have a series for each of these, and for no others."""
        for key in self._series.keys() - set(keys):
            self._kept[key] = self._series.pop(key).to_bytes()
            self._minutes.pop(key, None)
            self._spared.pop(key, None)
        for key in keys:
            if key not in self._series:
                self._series[key] = self._restored(key)

    def observe(self, spans: Mapping[Key, Span]) -> None:
        """Take in what happened."""
        for key, span in spans.items():
            if (series := self._series.get(key)) is not None:
                series.observe(span)
                minute = self._minutes.setdefault(key, deque())
                minute.append(span)
                while minute[0].until <= span.until - MINUTE_S:
                    minute.popleft()

    def size(self, key: Key, case: Case, *, is_due: bool) -> Sizing:
        """Decide anew if that is due, else look whether the last seconds need more."""
        usage, allowed = case.usage, case.controls
        series = self._series[key]
        situation = Situation(
            at=case.at,
            ready=usage.running,
            booting=usage.booting,
            permits=case.model.permits.per_instance,
            boot_s=allowed.boot_s,
            current=case.current,
            min=allowed.min,
            max=allowed.max,
            slo=allowed.slo_late_share,
            keep_alive_s=allowed.keep_alive_s,
        )
        made = series.decide(situation) if is_due else series.floor(situation)
        minute = joined(self._minutes.get(key, ()), until=case.at)
        wanted = case.current if case.is_held else made.instances
        if is_due or key not in self._spared or len(self._spared[key].by_each) < wanted:
            self._spared[key] = _spared(series, wanted)
        return Sizing(case=case, minute=minute, made=made, wanted=wanted, spared=self._spared[key])

    def saved(self, keys: Collection[Key]) -> dict[Key, bytes]:
        """Return what is to be kept over a restart, of these."""
        return {key: self._series[key].to_bytes() for key in keys if key in self._series}

    def _restored(self, key: Key) -> Series:
        kept = self._kept.pop(key, None)
        phase = crc32(f"{key.model}@{key.region}".encode()) % DAY_MIN
        if kept is None:
            return Series(phase=phase)
        try:
            return Series.from_bytes(kept, phase=phase)
        except ValueError as error:
            log.warning("%s in %r begins without its history: %s", key.model, key.region, error)
            return Series(phase=phase)


def _spared(series: Series, count: int) -> Spared:
    by_all = series.spared(count)
    return Spared(by_all=tuple(by_all.tolist()), by_each=tuple(worths(by_all).tolist()))
