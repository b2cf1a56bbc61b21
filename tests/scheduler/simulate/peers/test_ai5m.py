"""Holt every five minutes, worked out by hand; a target of 70 % of 10 permits is 7 requests."""

from __future__ import annotations

from services.scheduler.simulate.peers.ai5m import Ai5m
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import followed


def test_it_decides_every_five_minutes() -> None:
    policy = Ai5m(Terms(), utilization=0.7, a=0.5, b=0.1)

    wanted = followed(policy, [7.0] * 4 + [14.0] + [70.0] * 4, ready=3)

    # at 300 s: level 7 + 0.5 x 7 = 10.5, trend 0.1 x 3.5; (10.5 + 4.5 x 0.35) / 7 = 1.7
    assert wanted == [3] * 4 + [2] * 5


def test_a_rise_is_carried_on() -> None:
    policy = Ai5m(Terms(), utilization=0.7, a=1.0, b=1.0)

    # 14 more each minute: 70 at 300 s, and 4.5 x 14 = 63 more ahead: 133 / 7
    assert followed(policy, [14.0, 28.0, 42.0, 56.0, 70.0], ready=1)[-1] == 19


def test_a_fall_is_not_carried_on_below_nothing() -> None:
    policy = Ai5m(Terms(), utilization=0.7, a=1.0, b=1.0)

    assert followed(policy, [70.0, 56.0, 42.0, 28.0, 14.0], ready=1)[-1] == 0
