"""Health: what calls and probes show of endpoints becomes who is ejected, tried and taken back.

`outliers` decides; here the decisions meet the shards, and are counted and logged.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from math import inf
from typing import Final

from libs.common.clock import Clock
from libs.common.errors import DeadlineExceeded, ModelFailed, RequestError
from services.server.endpoints import Endpoint
from services.server.gradient import GradientLimit
from services.server.metrics import ServerMetrics
from services.server.outliers import (
    DEAD,
    EJECTED,
    FAILING,
    HEALTHY,
    LOST,
    SLOW,
    SUSPECTED,
    TRIAL,
    Limits,
    Verdict,
    fails_in_row,
    fails_often,
    is_panic,
    is_slow,
    slow_from_us,
)
from services.server.records import Record
from services.server.shards import OwnedShard
from services.server.turnstile import Lease

log = logging.getLogger(__name__)

PANIC: Final = "panic"
NONE_LEFT: Final = "none left"
DRAINING: Final = "draining"
FULL_S: Final = 0.25  # how long an endpoint that is full gets no more calls, at least
MOST: Final = 1 << 30
MODELS_OWN: Final = 0.8  # of a model's bound: what is left of it when a call comes here


class Health:
    """Judges the endpoints of one server's shards."""

    def __init__(
        self, limits: Limits, *, metrics: ServerMetrics, clock: Clock, rng: random.Random
    ) -> None:
        self.limits = limits
        self._metrics = metrics
        self._clock = clock
        self._rng = rng

    def __repr__(self) -> str:
        return f"<Health {self.limits}>"

    # what calls show

    def ended(self, record: Record) -> None:
        """Look at a call that has ended; `lost` has seen those whose endpoint was lost."""
        shard, lease = record.shard, record.lease
        if shard is None or lease is None:
            return
        condition, error = lease.endpoint.condition, record.error
        limit = lease.endpoint.limit
        if limit is not None and error in (None, DeadlineExceeded):
            _measured(record, shard, lease, limit)
        tally = shard.tally or self._metrics.durations.tally(shard)
        tally.states[condition.state if record.leased_at >= condition.since else condition.was] += 1
        if error is None:
            first_us, account = record.timings.first_part_us, record.request.account
            if condition.succeeded(first_us, record.leased_at, account):
                self._tried(shard, lease.endpoint)
        elif self._is_its_fault(record, error):
            is_over = condition.went_wrong(record.leased_at, record.request.account)
            if is_over:
                self._tried(shard, lease.endpoint)
            elif condition.in_row >= self.limits.failures_in_row:
                self._judge(shard, lease.endpoint)

    def lost(self, shard: OwnedShard, endpoint: Endpoint, *, is_dead: bool) -> None:
        """Hear that nobody answers at an endpoint, or that its model's process is dead."""
        condition = endpoint.condition
        condition.is_gone = condition.is_gone or is_dead
        if condition.state != EJECTED or condition.cause in SUSPECTED:
            self._eject(shard, endpoint, DEAD if is_dead else LOST)
        elif is_dead:
            condition.cause = DEAD  # what a probe cannot see, so that none takes it back

    def is_full(self, shard: OwnedShard, lease: Lease) -> None:
        """Hear that an endpoint has no room for a call: what is free there, others have.

        So it gets no more calls for a moment, but for those that end there.
        """
        endpoint = lease.endpoint
        if not endpoint.others:
            log.info("%s is full by its own word", endpoint.instance)
        taken = endpoint.free + lease.cost
        endpoint.others += taken
        endpoint.in_flight += taken
        endpoint.full_until = self._clock.now() + FULL_S

    def _is_its_fault(self, record: Record, error: type[RequestError]) -> bool:
        """Whether it speaks against an endpoint that a call ended so.

        One that was answered in part took as long as it asked for, and a client's own bound may
        be shorter than any answer. A probe finds the endpoint that hangs meanwhile.
        """
        if error is not DeadlineExceeded:
            return error is ModelFailed
        took_long = record.timings.forward_us >= self.limits.unanswered_s * 1_000_000
        return took_long and not record.first_part_at and not _has_own_bound(record)

    def _tried(self, shard: OwnedShard, endpoint: Endpoint) -> None:
        """A trial is over: with nothing left to try it went well."""
        if endpoint.condition.trials_left == 0:
            self._recover(shard, endpoint)
        else:
            self._eject(shard, endpoint, endpoint.condition.cause)

    # what probes show

    def probed(self, shard: OwnedShard, endpoint: Endpoint, verdict: Verdict) -> None:
        """Hear what a probe has shown."""
        condition, now = endpoint.condition, self._clock.now()
        if not verdict.is_up:
            condition.misses += 1
            if condition.state == EJECTED:
                cause = DEAD if condition.cause == DEAD else verdict.cause
                condition.eject(cause, now, self.limits, self._rng)
                self.settle(shard)
            elif condition.misses >= self.limits.probe_failures or condition.state == TRIAL:
                self._eject(shard, endpoint, verdict.cause)
            if condition.state == EJECTED and verdict.cause == LOST:
                condition.is_gone = True
            return
        condition.misses = 0
        if condition.state != EJECTED or condition.retry_at > now:
            return
        if condition.cause == LOST or (verdict.is_proven and condition.cause != SLOW):
            self._recover(shard, endpoint)
        else:
            condition.try_again(now, self.limits)
            self.settle(shard)

    # what time shows

    def sample(self, shards: Iterable[OwnedShard]) -> None:
        """Look at every endpoint beside the others of its model; call it every `SAMPLE_S`."""
        for shard in shards:
            endpoints = list(shard.turnstile.endpoints.values())
            for endpoint in endpoints:
                endpoint.condition.sample(self.limits)
            for endpoint in endpoints:
                self._judge(shard, endpoint)
            self.settle(shard)
            self._give_back(shard, endpoints)

    def _give_back(self, shard: OwnedShard, endpoints: Iterable[Endpoint]) -> None:
        """Send calls again to those that were full a moment ago."""
        now = self._clock.now()
        for each in endpoints:
            if each.others and each.full_until <= now:
                each.in_flight -= each.others
                each.others = 0
                shard.turnstile.admit()

    def _judge(self, shard: OwnedShard, endpoint: Endpoint) -> None:
        condition = endpoint.condition
        if condition.state != HEALTHY or endpoint.state == DRAINING:
            return
        mine = condition.recent()
        others = [
            each.condition.recent()
            for each in shard.turnstile.endpoints.values()
            if each is not endpoint
        ]
        witnesses, share = condition.witnesses, self.limits.error_share
        if (
            fails_in_row(mine, others, self.limits) and witnesses.agree_in_row(self._clock.now())
        ) or (fails_often(mine, others, self.limits) and witnesses.agree(share)):
            self._eject(shard, endpoint, FAILING)
        elif is_slow(mine, others, self.limits):
            condition.slow_us = slow_from_us(others, self.limits)
            self._eject(shard, endpoint, SLOW)

    # what follows

    def settle(self, shard: OwnedShard) -> None:
        """Send calls to those that are to have some, and say so where that is everyone."""
        able = [e for e in shard.turnstile.endpoints.values() if e.state != DRAINING]
        healthy = sum(each.condition.state == HEALTHY for each in able)
        suspected = [each for each in able if each.condition.cause in SUSPECTED]
        panics = bool(suspected) and is_panic(healthy, len(able), self.limits)
        had = shard.turnstile.free
        for each in able:
            condition = each.condition
            is_needed = panics and condition.cause in SUSPECTED
            is_used = condition.state != EJECTED or is_needed
            each.state = "healthy" if is_used else "backoff"
            on_trial = 0
            if condition.state == TRIAL and not is_needed:  # beside what was there before
                on_trial = min(each.on_trial or MOST, each.in_flight + 1)
            if on_trial != each.on_trial:
                each.on_trial = on_trial
                each.fit(shard.model.permits)
        self._tell(shard, panics, len(able), sum(each.state == "healthy" for each in able))
        if shard.turnstile.free > had:
            shard.turnstile.admit()
        elif shard.turnstile.waiting and not shard.turnstile.permits:
            shard.turnstile.close(shard.none_healthy(), lambda request: request.falls_back)

    def _eject(self, shard: OwnedShard, endpoint: Endpoint, cause: str) -> None:
        now, condition = self._clock.now(), endpoint.condition
        condition.eject(cause, now, self.limits, self._rng)
        if cause not in SUSPECTED:
            endpoint.affinity.forget()  # its instance may start anew, and then holds nothing
        wait_s = condition.retry_at - now
        log.info("%s is %s: left alone for %.1f s", endpoint.instance, cause, wait_s)
        self._metrics.ejections[shard.colo, shard.model.name, cause] += 1
        self.settle(shard)

    def _recover(self, shard: OwnedShard, endpoint: Endpoint) -> None:
        endpoint.condition.recover(self._clock.now())
        log.info("%s is healthy again", endpoint.instance)
        self.settle(shard)

    def _tell(self, shard: OwnedShard, panics: bool, all_: int, used: int) -> None:
        """Log once, not at each call, that a model's endpoints are all used, or all gone."""
        alarm = PANIC if panics else NONE_LEFT if all_ and not used else ""
        if alarm == shard.alarm:
            return
        shard.alarm, name = alarm, shard.model.name
        if alarm == PANIC:
            self._metrics.panics[shard.colo, name] += 1
            log.warning("%s: too few of %d endpoints are well, so all are used", name, all_)
        elif alarm == NONE_LEFT:
            log.warning("%s: none of %d endpoints answers, so calls wait", name, all_)
        else:
            log.warning("%s: enough of %d endpoints are well again", name, all_)


def _has_own_bound(record: Record) -> bool:
    """Whether its client has left it less time than its model has, or other places have."""
    bounds, shard = record.request.time_bounds, record.shard
    if shard is None:
        return False
    usual = shard.model.timeouts
    first_s, total_s = bounds.first_part_ms / 1000 or inf, bounds.total_ms / 1000 or inf
    return min(first_s, total_s) < MODELS_OWN * min(usual.first_part_s, usual.total_s)


def _measured(record: Record, shard: OwnedShard, lease: Lease, limit: GradientLimit) -> None:
    """Tell an adaptive limit what an answer took, or how long one did not come."""
    endpoint, timings = lease.endpoint, record.timings
    in_use = endpoint.in_flight + (0 if lease.is_open else lease.cost)
    now = record.leased_at + timings.forward_us / 1_000_000
    if limit.answered(timings.first_part_us / 1_000_000, in_use, now):
        endpoint.fit(shard.model.permits)
        shard.turnstile.admit()
