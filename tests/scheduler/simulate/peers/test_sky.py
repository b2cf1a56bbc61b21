"""SkyServe's rule, worked out by hand; 70 % of 10 permits by 7 s is 1 request a second."""

from __future__ import annotations

from services.scheduler.simulate.peers.sky import Sky
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import followed

TERMS = Terms(permits=10, service_mean_s=7.0, minimum=1, maximum=8)


def sky() -> Sky:
    """Return one with what is published."""
    return Sky(TERMS, utilization=0.7, up_delay_s=300, down_delay_s=1200)


def test_more_counts_after_five_minutes() -> None:
    # in these cases as many arrive in a second as there are requests
    wanted = followed(sky(), [3.0] * 16, ready=2)

    assert wanted[13:] == [2, 3, 3]  # the 15th look


def test_less_counts_after_twenty_minutes() -> None:
    wanted = followed(sky(), [1.0] * 61, ready=4)

    assert wanted[58:] == [4, 1, 1]  # the 60th look


def test_the_rate_is_that_of_the_last_minute() -> None:
    # 2 + 2 + 8 in three looks: (2 + 2 + 8) / 3 = 4 once, then 6, then 8
    policy = Sky(TERMS, utilization=0.7, up_delay_s=0, down_delay_s=1200)

    assert followed(policy, [2.0, 2.0, 8.0, 8.0, 8.0], ready=2) == [2, 2, 4, 6, 8]


def test_a_look_without_the_wish_begins_anew() -> None:
    wanted = followed(sky(), [3.0] * 14 + [0.0] * 3 + [3.0] * 17, ready=2)

    assert wanted == [2] * 33 + [3]  # above 2 again from the 20th look, the 15th of them


def test_no_more_than_the_bound_is_wished_for() -> None:
    wanted = followed(sky(), [100.0] * 16 + [8.0] * 60, ready=2)

    assert wanted[14:] == [8] * 62
