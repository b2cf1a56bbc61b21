"""From what each model in each region went through to how many instances there should be.

One `Series` per model and region decides; what operators allow is applied here. What was kept of a
series is read in turns, one series each: a `StandIn` decides until then. Values in, values out: it
reads no clock.
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
from services.scheduler.deciding import Decision, Series, Situation, Span, StandIn
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


NOTHING = Spared((), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How a model in a region is sized; `wanted` is what the fleet is asked for."""

    case: Case
    minute: Span
    made: Decision
    wanted: int
    spared: Spared
    is_stood_in: bool = False  # its history is not back yet

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
        self._gone: dict[Key, Series] = {}  # to be kept
        self._series: dict[Key, Series] = {}
        self._stand_ins: dict[Key, StandIn] = {}  # whose series are to be read
        self._minutes: dict[Key, deque[Span]] = {}
        self._spared: dict[Key, Spared] = {}

    def __repr__(self) -> str:
        behind = len(self._stand_ins)
        return f"<Sizer {len(self._series)} series, {behind} to come, {len(self._kept)} kept>"

    @property
    def following(self) -> Collection[Key]:
        """All that there are series of."""
        return self._series.keys()

    @property
    def is_behind(self) -> bool:
        """Whether a turn has anything to do."""
        return bool(self._stand_ins or self._gone)

    def restore(self, kept: Mapping[Key, bytes]) -> None:
        """Take what was saved; each series comes back when its model does."""
        self._kept.update(kept)

    def follow(self, keys: Collection[Key]) -> None:
        """Have a series for each of these, and for no others."""
        for key in (self._series.keys() | self._stand_ins.keys()) - set(keys):
            if (series := self._series.pop(key, None)) is not None:
                self._gone[key] = series
            self._stand_ins.pop(key, None)
            self._minutes.pop(key, None)
            self._spared.pop(key, None)
        for key in keys:
            if key in self._series or key in self._stand_ins:
                continue
            if key in self._kept and key not in self._gone:
                self._stand_ins[key] = StandIn()
            else:
                gone = self._gone.pop(key, None)
                self._series[key] = Series(phase=_phase(key)) if gone is None else gone

    def turn(self) -> None:
        """Read what was kept of one series, or keep one that is gone: what may take a while."""
        if self._stand_ins:
            key, stand_in = next(iter(self._stand_ins.items()))
            del self._stand_ins[key]
            self._series[key] = Series(phase=_phase(key))  # if it fails, this is what is left
            self._series[key] = self._restored(key, stand_in)
        elif self._gone:
            key, series = self._gone.popitem()
            self._kept[key] = series.to_bytes()

    def observe(self, spans: Mapping[Key, Span]) -> None:
        """Take in what happened."""
        for key, span in spans.items():
            if (series := self._stand_ins.get(key) or self._series.get(key)) is not None:
                series.observe(span)
                minute = self._minutes.setdefault(key, deque())
                minute.append(span)
                while minute[0].until <= span.until - MINUTE_S:
                    minute.popleft()

    def size(self, key: Key, case: Case, *, is_due: bool) -> Sizing:
        """Decide anew if that is due, else look whether the last seconds need more."""
        situation, stand_in = _situation(case), self._stand_ins.get(key)
        minute = joined(self._minutes.get(key, ()), until=case.at)
        if stand_in is not None:
            made = stand_in.decide(situation)
            return Sizing(
                case=case,
                minute=minute,
                made=made,
                wanted=case.current if case.is_held else made.instances,
                spared=NOTHING,
                is_stood_in=True,
            )
        series = self._series[key]
        made = series.decide(situation) if is_due else series.floor(situation)
        wanted = case.current if case.is_held else made.instances
        if is_due or key not in self._spared or len(self._spared[key].by_each) < wanted:
            self._spared[key] = _spared(series, wanted)
        return Sizing(case=case, minute=minute, made=made, wanted=wanted, spared=self._spared[key])

    def saved(self, key: Key) -> bytes | None:
        """Return what is to be kept of a series over a restart; None where that is kept already."""
        series = self._series.get(key)
        return None if series is None else series.to_bytes()

    def _restored(self, key: Key, stand_in: StandIn) -> Series:
        """Return a series with what was kept of it, and what has happened since."""
        try:
            series = Series.from_bytes(self._kept.pop(key), phase=_phase(key))
        except ValueError as error:
            log.warning("%s in %r begins without its history: %s", key.model, key.region, error)
            series = Series(phase=_phase(key))
        for span in stand_in.spans:
            series.observe(span)
        series.prepare(stand_in.boot_s)
        return series


def _phase(key: Key) -> int:
    return crc32(f"{key.model}@{key.region}".encode()) % DAY_MIN


def _situation(case: Case) -> Situation:
    usage, allowed = case.usage, case.controls
    return Situation(
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


def _spared(series: Series, count: int) -> Spared:
    by_all = series.spared(count)
    return Spared(by_all=tuple(by_all.tolist()), by_each=tuple(worths(by_all).tolist()))
