"""What operators allow a model in a region: catalog, schedules and overrides, resolved.

The most special word counts: the model's, then its region's, then an override for every region,
then one for this region. A schedule raises the minimum while it lasts, unless an override names
one. The maximum counts more than the minimum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from libs.common.catalog import LONGEST_SCHEDULE_MIN, Bounds, Model, Schedule
from libs.common.cron import read_cron, read_zone
from libs.common.world_map import Override

T = TypeVar("T")
AHEAD_S = 10.0  # before the boot: to decide, to be told, and to be found by servers
_PUT_BACK = timedelta(hours=1)
_SCHEDULE_DAYS = LONGEST_SCHEDULE_MIN // (24 * 60) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Bounds and aims; frozen: neither up nor down; dry run: decide, and change nothing."""

    min: int
    max: int
    slo_late_share: float = 0.003
    boot_s: float = 5.0  # measured, or as the catalog says until then
    keep_alive_s: float | None = None  # None: as long as the SLO asks
    frozen: bool = False
    dry_run: bool = False
    why: str = ""  # who else than the catalog has said so

    @property
    def is_held(self) -> bool:
        """Whether the fleet stays as it is, whatever is decided."""
        return self.frozen or self.dry_run


def controls(
    model: Model,
    region: str,
    overrides: Iterable[Override],
    *,
    now_ms: int,
    measured_boot_s: float | None = None,
) -> Controls:
    """Return what holds for a model in a region now."""
    scaling, special = model.scaling, model.scaling.region.get(region, Bounds())
    mine = overriding(model.name, region, overrides, now_ms=now_ms)
    boot_s = _said(measured_boot_s, _said(special.boot_s, scaling.boot_s))
    low, high = _said(special.min, scaling.min), _said(special.max, scaling.max)
    why = []
    due = [
        each
        for each in scaling.schedules
        if each.region in ("", region) and is_due(each, now_ms=now_ms, ahead_s=boot_s + AHEAD_S)
    ]
    if due and (most := max(due, key=lambda each: each.min)).min > low:
        low = most.min
        why.append(f"the schedule {most.cron} asks for {low}")
    for each in mine:
        low, high = _said(each.min, low), _said(each.max, high)
    if mine:
        why.append("an override holds" + _until(mine))
    return Controls(
        min=min(low, high),
        max=high,
        slo_late_share=_said(special.slo_late_share, scaling.slo_late_share),
        boot_s=boot_s,
        keep_alive_s=_said(special.keep_alive_s, scaling.keep_alive_s),
        frozen=any(each.frozen for each in mine),
        dry_run=any(each.dry_run for each in mine),
        why="; ".join(why),
    )


def overriding(
    model: str, region: str, overrides: Iterable[Override], *, now_ms: int
) -> list[Override]:
    """Return the overrides that hold for a model in a region, the most special one last."""
    return [
        each
        for each in sorted(overrides, key=lambda each: each.region != "")
        if each.model == model
        and each.region in ("", region)
        and not 0 < each.expires_at_ms <= now_ms
    ]


def expired(overrides: Iterable[Override], *, now_ms: int) -> Iterator[Override]:
    """Yield those whose time is over."""
    return (each for each in overrides if 0 < each.expires_at_ms <= now_ms)


def is_due(schedule: Schedule, *, now_ms: int, ahead_s: float) -> bool:
    """Whether a schedule asks for instances now; it begins a boot before its time."""
    now = now_ms / 1000
    return any(
        begun <= now + ahead_s and now < begun + schedule.minutes * 60
        for begun in _begun(schedule, now + ahead_s)
    )


def _begun(schedule: Schedule, by: float) -> Iterator[float]:
    """Yield when a schedule may have begun last (s since 1970), by the clocks of its zone.

    These may have been put back since, and show a time twice then. Of one that they skip, as they
    are put forward, the second reading is the earlier one.
    """
    zone, cron = read_zone(schedule.timezone), read_cron(schedule.cron)
    local = datetime.fromtimestamp(by, zone).replace(tzinfo=None)
    for put_back in (timedelta(), _PUT_BACK):
        shown = cron.last(local + put_back, days=_SCHEDULE_DAYS)
        if shown is not None:
            first, second = (shown.replace(tzinfo=zone, fold=each).timestamp() for each in (0, 1))
            yield from (first, max(first, second))


def _said(special: T | None, general: T) -> T:
    return general if special is None else special


def _until(overrides: list[Override]) -> str:
    ends = [each.expires_at_ms for each in overrides if each.expires_at_ms]
    if not ends:
        return ""
    return f" until {datetime.fromtimestamp(min(ends) / 1000, UTC):%Y-%m-%d %H:%M} UTC"
