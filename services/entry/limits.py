"""How long a call may take, and how many permits: the client's wish, within the model's bounds."""

from __future__ import annotations

from libs.common.catalog import Permits, Timeouts
from libs.common.envelope import NO_BOUNDS, InferRequest, TimeBounds

SLOW_READER_S = 5.0  # what a reader may be behind when the call's time is up


def time_bounds(model: Timeouts, client: TimeBounds, *, ceiling_s: float) -> TimeBounds:
    """Return the bounds of a call; 0 in the client's is no wish."""
    return TimeBounds(
        first_part_ms=_least(_ms(min(model.first_part_s, ceiling_s)), client.first_part_ms),
        idle_ms=_least(_ms(model.idle_s), client.idle_ms),
        total_ms=_least(_ms(model.total_s), client.total_ms),
    )


def within(request: InferRequest, left: TimeBounds) -> None:
    """Bound a request by what is left of another's time, too."""
    bounds = request.time_bounds
    request.time_bounds = TimeBounds(
        first_part_ms=_least(bounds.first_part_ms, left.first_part_ms),
        idle_ms=bounds.idle_ms,
        total_ms=_least(bounds.total_ms, left.total_ms),
    )


def tighter(one: TimeBounds, other: TimeBounds) -> TimeBounds:
    """Return the least of both bounds; 0 is none."""
    if one is NO_BOUNDS or other is NO_BOUNDS:
        return other if one is NO_BOUNDS else one
    return TimeBounds(
        first_part_ms=_tighter(one.first_part_ms, other.first_part_ms),
        idle_ms=_tighter(one.idle_ms, other.idle_ms),
        total_ms=_tighter(one.total_ms, other.total_ms),
    )


def permits_of(wish: int, permits: Permits, account: str) -> int:
    """Return the cost of a call: at most what an instance has, and what its account may hold."""
    share = permits.accounts.get(account)
    most = share.maximum if share is not None and share.maximum else wish
    return min(wish, permits.per_instance, most)


def longest_stream_s(model: Timeouts) -> float:
    """Return how long a stream may be written to a client that does not read it."""
    return model.total_s + SLOW_READER_S


def longest_silence(seconds: str | None) -> TimeBounds:
    """Return what a client's read timeout bounds: first part and idle gap, never the total."""
    if not seconds:
        return NO_BOUNDS
    try:
        silence = float(seconds)
    except ValueError:
        return NO_BOUNDS
    if not 0 < silence < 1e6:  # not a number, no bound, or as good as none
        return NO_BOUNDS
    return TimeBounds(first_part_ms=_ms(silence), idle_ms=_ms(silence))


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _tighter(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


def _least(ours: int, theirs: int) -> int:
    return min(ours, theirs) if theirs else ours
