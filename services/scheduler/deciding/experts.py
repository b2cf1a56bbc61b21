"""The experts: eight ways to tell from past errors how large the load may become.

With x the load now, l = log(1 + x), L the smoothed l, X = exp(y) - 1 the target, and (c, s) the
ridge's centre and scale, the quantile q_p of

    ratio       (y - L - c) / s       gives   exp(L + c + s q_p) - 1
    centred     X - X', X' = exp(L + c) - 1   X' + q_p
    added       X - x                         x + q_p
    multiplied  y - l, of two days            exp(l + q_p) - 1
    by level    as added, of minutes with a load like x
    by fall     as added, of minutes after a fall from the last half hour's maximum like this one
    rooted      sqrt(X) - sqrt(x)             (sqrt(x) + q_p)^2, which levels a Poisson spread
    swung       (sqrt(X) - sqrt(x)) / r       (sqrt(x) + r q_p)^2, r = 1/2 + the range of sqrt(x)
                                              in the last hour: rough ones follow rough ones

from the last 7 days' errors, those alone whose target is known, read anew every hour.
Unit: permits; shape: (experts, P). Source: reference measurements; `rooted` is Anscombe (1948),
`swung` measures volatility by ranges as Parkinson (1980) does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scheduler.deciding import residuals
from services.scheduler.deciding.minutes import DAY, WEEK, Floats, Minutes, Singles, levels
from services.scheduler.deciding.target import rolling_max, targets

NAMES = ("ratio", "centred", "added", "multiplied", "by level", "by fall", "rooted", "swung")
LEAST_MINUTES = 60  # fewer errors say nothing of a tail
_FALL_MINUTES = 30
_FALLS = np.array([0.1, 0.35, 0.7])  # in log units: a tenth, a third, a half
_LEVELS = np.array([0.25, 0.5, 0.75])  # of the loads of the week
_SWING_MINUTES = 60
_CHANCE = 0.5  # what a Poisson number's square root deviates by, whatever its mean
_LEAST_OF_A_KIND = 120  # else those of all kinds are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Each expert's quantiles of its errors (P,), or of each kind of minute (kinds, P)."""

    ratio: Floats | None
    centred: Floats | None
    added: Floats
    multiplied: Floats
    levels: Floats  # bounds, in log units
    by_level: Floats
    by_fall: Floats
    rooted: Floats
    swung: Floats


def learn(minutes: Minutes, horizon: int) -> Tables | None:
    """Read the errors of the week; None while there are too few."""
    known = minutes.count - horizon
    if known < LEAST_MINUTES:
        return None
    first = max(known - WEEK, 0)
    logs = minutes.logs[first:]
    wanted = targets(logs, horizon)
    now = logs[: wanted.size]
    load, most = np.expm1(now), np.expm1(wanted)
    added = most - load
    levels = np.quantile(now, _LEVELS)
    rooted = np.sqrt(most) - np.sqrt(load)
    ratio, centred = _around_ridge(minutes, first, wanted, most)
    return Tables(
        ratio=ratio,
        centred=centred,
        added=residuals.quantiles(added),
        multiplied=residuals.quantiles((wanted - now)[-2 * DAY :]),
        levels=levels,
        by_level=_by_kind(added, np.searchsorted(levels, now), len(levels) + 1),
        by_fall=_by_kind(added, _fall_kinds(logs, wanted.size), len(_FALLS) + 1),
        rooted=residuals.quantiles(rooted),
        swung=residuals.quantiles(rooted / _swings(np.sqrt(load))),
    )


def _around_ridge(
    minutes: Minutes, first: int, wanted: Singles, most: Singles
) -> tuple[Floats | None, Floats | None]:
    """Return the quantiles around what the ridge expected; None where it expected too little."""
    end = first + wanted.size
    centre, scale = minutes.expected[:, first:end].astype(np.float32)
    expected = ~np.isnan(centre)
    if np.count_nonzero(expected) < LEAST_MINUTES:
        return None, None
    middle = levels(minutes.logs[:end])[first:] + centre
    ratio = ((wanted - middle) / scale)[expected]
    centred = (most - np.expm1(middle))[expected]
    return residuals.quantiles(ratio), residuals.quantiles(centred)


def _swings(roots: Singles) -> Singles:
    """Return r of each minute: (n,) to (n,)."""
    before = np.concatenate([np.full(_SWING_MINUTES - 1, roots[0]), roots])
    swings: Singles = rolling_max(before, _SWING_MINUTES) + rolling_max(-before, _SWING_MINUTES)
    return swings + np.float32(_CHANCE)


def _fall_kinds(logs: Singles, size: int) -> NDArray[np.intp]:
    before = np.concatenate([np.full(_FALL_MINUTES - 1, logs[0]), logs[:size]])
    falls: Singles = rolling_max(before, _FALL_MINUTES) - logs[:size]
    kinds: NDArray[np.intp] = np.searchsorted(_FALLS, falls)
    return kinds


def _by_kind(errors: Singles, kinds: NDArray[np.intp], count: int) -> Floats:
    every = residuals.quantiles(errors)
    found = (errors[kinds == kind] for kind in range(count))
    return np.stack(
        [residuals.quantiles(each) if each.size >= _LEAST_OF_A_KIND else every for each in found]
    )


def quantiles(tables: Tables, minutes: Minutes, centre: float, scale: float) -> Floats:
    """Return what each expert says after the newest minute: NaN where it cannot say anything.

    Never negative, and ascending along the probabilities.
    """
    logs = minutes.logs
    log, level = float(logs[-1]), minutes.smoothed
    load = np.expm1(log)
    fall = float(logs[-_FALL_MINUTES:].max()) - log
    said = np.full((len(NAMES), residuals.PROBABILITIES.size), np.nan)
    if tables.ratio is not None and tables.centred is not None and not np.isnan(centre):
        said[0] = np.expm1(np.minimum(level + centre + scale * tables.ratio, _MOST_LOG))
        said[1] = np.expm1(min(level + centre, _MOST_LOG)) + tables.centred
    said[2] = load + tables.added
    said[3] = np.expm1(np.minimum(log + tables.multiplied, _MOST_LOG))
    said[4] = load + tables.by_level[np.searchsorted(tables.levels, log)]
    said[5] = load + tables.by_fall[np.searchsorted(_FALLS, fall)]
    root, roots = np.sqrt(load), np.sqrt(np.expm1(logs[-_SWING_MINUTES:]))
    swing = float(roots.max() - roots.min()) + _CHANCE
    said[6] = np.maximum(root + tables.rooted, 0.0) ** 2
    said[7] = np.maximum(root + swing * tables.swung, 0.0) ** 2
    return np.asarray(np.maximum(said, 0.0))


_MOST_LOG = 16.0  # nine million permits: what is beyond is an error, and must not overflow
