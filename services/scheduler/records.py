"""A sizing as the record that is kept and shown: with its inputs, and why it is as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from libs.common.world_map import Decision
from services.scheduler.sizing import Sizing
from services.scheduler.usage import Key

DIGITS = 4  # significant ones, of what is only looked at


def record_of(
    key: Key, sizing: Sizing, *, cause: str, at_ms: int, placed: int, notes: Iterable[str]
) -> Decision:
    """Return the record of a sizing; `placed` is what the fleet was told, `notes` why not more."""
    case, minute, made = sizing.case, sizing.minute, sizing.made
    return Decision(
        model=key.model,
        region=key.region,
        at_ms=at_ms,
        demand=_short(made.load),
        forecast=_short(sizing.forecast),
        running=case.usage.running,
        required=made.required,
        desired=sizing.desired,
        reason="; ".join(_reasons(sizing, notes)),
        cause=cause,
        booting=case.usage.booting,
        queued=case.usage.queued,
        arrivals=_short(minute.arrivals),
        late=_short(minute.late),
        service_s=_short(made.service_s),
        saturated=_short(minute.saturated),
        min=case.controls.min,
        max=case.controls.max,
        slo_late_share=case.controls.slo_late_share,
        late_share=_short(made.late_share),
        boot_s=_short(case.controls.boot_s),
        price=_short(made.price),
        probabilities=tuple(made.probabilities),
        quantiles=tuple(_short(each) for each in made.quantiles),
        weights={name: _short(weight) for name, weight in made.weights},
        placed=placed,
        is_held=case.is_held,
    )


def _reasons(sizing: Sizing, notes: Iterable[str]) -> Iterator[str]:
    made, allowed = sizing.made, sizing.case.controls
    yield f"a demand of {made.load:.1f}, up to {sizing.forecast:.1f}, needs {made.required}"
    yield from made.reasons
    if allowed.why:
        yield allowed.why
    if allowed.frozen:
        yield f"frozen at {sizing.wanted}"
    elif sizing.case.is_held:
        yield f"a dry run: it stays at {sizing.wanted}"
    yield from filter(None, notes)


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
