"""What `constellation scale` and `constellation explain` print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime

import orjson

from libs.common.catalog import Bounds, Model
from libs.common.explanation import Explanation, ScaleSnapshot
from libs.common.world import World
from libs.common.world_map import Colo, Decision, Override
from services.accounts_tables import table

SHOWN = (0.5, 0.9, 0.99)  # of the quantiles
LAST = 12  # snapshots that are shown


def scaled(world: World, model: Model, region: str, *, now_ms: int) -> str:
    """Return a line per region: what is allowed, by whom, and what was decided last."""
    rows = [("region", "min", "max", "running", "desired", "override")]
    regions = sorted({colo.region for colo in world.table(Colo).values()})
    overrides = [
        each
        for each in world.table(Override).values()
        if each.model == model.name and not 0 < each.expires_at_ms <= now_ms
    ]
    for name in regions if not region else [region]:
        mine = [each for each in overrides if each.region in ("", name)]
        decided = world.table(Decision).get(f"{model.name}@{name}")
        low, high = _bounds(model, name, mine)
        said = "; ".join(_said(each) for each in mine) or "-"
        running = str(decided.running) if decided else "-"
        rows.append((name or "-", low, high, running, _desired(decided), said))
    return table(rows)


def explained(decision: Decision, snapshots: Iterable[ScaleSnapshot] = ()) -> str:
    """Return all that matters of a decision, and how its model stood until then or later."""
    quantiles = "  ".join(f"{p:g}: {q:.1f}" for p, q in _quantiles(decision)) or "-"
    weights = sorted(decision.weights.items(), key=lambda each: -each[1])
    mixture = "  ".join(f"{name} {share:.0%}" for name, share in weights if share >= 0.005)
    rows = [
        ("model", f"{decision.model} in {decision.region or 'no region'}"),
        ("at", f"{_date(decision.at_ms)} ({decision.cause or 'unknown'})"),
        (
            "last minute",
            f"demand {decision.demand:.1f}, {decision.arrivals:.0f} requests, "
            f"{decision.late:.0f} late, {decision.service_s:.2f} s each, "
            f"full {decision.saturated:.0%} of the time",
        ),
        (
            "now",
            f"{decision.running} running, {decision.booting} booting, {decision.queued} queued",
        ),
        ("demand to come", quantiles),
        ("forecast by", mixture or "what is usual: too little is known yet"),
        (
            "late requests",
            f"{decision.slo_late_share:.2%} allowed, {decision.late_share:.2%} expected, "
            f"one is worth {decision.price:.3g} instance-minutes",
        ),
        ("boot", f"{decision.boot_s:.1f} s"),
        ("bounds", f"{decision.min} to {decision.max}"),
        ("required", f"{decision.required}, for a demand of up to {decision.forecast:.1f}"),
        ("desired", _desired(decision)),
        ("why", decision.reason or "-"),
        *_stood([each for each in snapshots if each.region == decision.region][-LAST:]),
    ]
    return table(rows)


def _stood(snapshots: Sequence[ScaleSnapshot]) -> Iterator[tuple[str, str]]:
    if snapshots:
        until = _date(snapshots[-1].at_ms)
        queue = " ".join(str(each.queue_length) for each in snapshots)
        yield "queue", f"{queue} (the last: {until})"
        yield "instances", " ".join(str(each.replica_count) for each in snapshots)


def history(decisions: Iterable[Decision]) -> str:
    """Return a line per decision, the newest last."""
    rows = [("at", "region", "cause", "demand", "running", "required", "desired", "why")]
    rows += [
        (
            _date(each.at_ms),
            each.region or "-",
            each.cause or "-",
            f"{each.demand:.1f}",
            str(each.running),
            str(each.required),
            _desired(each),
            each.reason.partition("; ")[2] or "-",
        )
        for each in sorted(decisions, key=lambda each: (each.region, each.at_ms))
    ]
    return table(rows)


def as_json(found: Explanation) -> str:
    """Return all that is known as an object."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(asdict(found), option=option).decode()


def _quantiles(decision: Decision) -> Iterator[tuple[float, float]]:
    both = list(zip(decision.probabilities, decision.quantiles, strict=False))
    for wanted in SHOWN:
        if both:
            yield min(both, key=lambda each: abs(each[0] - wanted))


def _bounds(model: Model, region: str, overrides: Sequence[Override]) -> tuple[str, str]:
    special = model.scaling.region.get(region, Bounds())
    low = model.scaling.min if special.min is None else special.min
    high = model.scaling.max if special.max is None else special.max
    for each in sorted(overrides, key=lambda each: each.region != ""):
        low = low if each.min is None else each.min
        high = high if each.max is None else each.max
    return str(min(low, high)), str(high)


def _said(override: Override) -> str:
    words = [
        *([f"min {override.min}"] if override.min is not None else []),
        *([f"max {override.max}"] if override.max is not None else []),
        *(["frozen"] if override.frozen else []),
        *(["dry run"] if override.dry_run else []),
    ]
    until = f" until {_date(override.expires_at_ms)}" if override.expires_at_ms else ""
    return (", ".join(words) or "nothing") + until


def _desired(decision: Decision | None) -> str:
    if decision is None:
        return "-"
    if decision.is_held and decision.placed != decision.desired:
        return f"{decision.desired} (held at {decision.placed})"
    if decision.placed < decision.desired:
        return f"{decision.desired} ({decision.placed} have room)"
    return str(decision.desired)


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
