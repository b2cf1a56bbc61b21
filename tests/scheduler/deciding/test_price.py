"""The price that would have kept the SLO."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.scheduler.deciding import Series, Situation, Span
from services.scheduler.deciding.minutes import DAY
from services.scheduler.deciding.price import PRICES, START, Price, Terms
from services.scheduler.deciding.signal import Minute

TERMS = Terms(permits=8, service_s=4.0, z=1.0, horizon=3, hold=3, boot_minutes=2.5, min=0, max=100)
# the requirement of a load of 80 with so much to spare at each price
LADDER = 10.0 + np.floor(np.linspace(0, 6, PRICES.size))


def lived(price: Price, *, minutes: int, load: float = 80.0, late: float = 0.0) -> Price:
    for index in range(minutes):
        price.learn(Minute(index=index, load=load, arrivals=1200.0, late=late), TERMS)
        price.record(LADDER, taken=price.now(0.003, 1.0))
    return price


def test_before_anything_is_known_it_starts_where_most_end() -> None:
    assert Price().now(0.003, 1.0) == pytest.approx(START, rel=0.01)
    assert Price().now(0.01, 1.0) == pytest.approx(START * 0.3, rel=0.01)


def test_shares_fall_as_prices_rise() -> None:
    shares = lived(Price(), minutes=300).shares()

    assert np.all(np.diff(shares) <= 0)
    assert shares[0] > 0.1
    assert shares[-1] < 0.001


def test_a_stricter_slo_costs_more() -> None:
    price = lived(Price(), minutes=300)

    assert price.now(0.001, 1.0) >= price.now(0.003, 1.0) > price.now(0.03, 1.0)
    assert price.now(0.003, 0.5) >= price.now(0.003, 1.0)


def test_late_calls_that_the_replay_does_not_know_raise_the_price() -> None:
    calm, late = lived(Price(), minutes=300), lived(Price(), minutes=300, late=60.0)

    assert late.truth(0.003) == pytest.approx(4.0, rel=0.5)
    assert late.now(0.003, 1.0) > calm.now(0.003, 1.0)


def test_what_was_not_late_lately_may_be_late_now() -> None:
    price = lived(Price(), minutes=3000)
    arrivals = price.arrivals

    left = []
    for spent in (0.0, 0.5, 1.0, 1.5, 9.0):
        price.seen = spent * 0.003 * arrivals
        left.append(price.left(0.003))

    assert left[2] == pytest.approx(1.0, rel=0.01)
    assert left == sorted(left, reverse=True)
    assert left[0] == pytest.approx(1 + price.minutes / (price.minutes + DAY), rel=0.01)
    assert left[-1] == 0.5


def test_a_jump_is_late_until_a_boot_is_over() -> None:
    price = lived(Price(), minutes=100, load=8.0)
    rising = LADDER + 10

    late = []
    for index in range(100, 108):
        before = price.late.copy()
        price.learn(Minute(index=index, load=130.0, arrivals=1950.0, late=0.0), TERMS)
        late.append(float((price.late - before * (price.late[-1] >= 0))[-1]) > 100)
        price.record(rising, taken=1.0)

    assert late[0]
    assert not late[-1]


def test_what_was_kept_prices_alike() -> None:
    price, again = lived(Price(), minutes=100), Price()

    again.restore(price.kept())

    assert again.now(0.003, 0.6) == price.now(0.003, 0.6)
    lived(again, minutes=3)
    lived(price, minutes=3)
    assert again.shares().tolist() == price.shares().tolist()


def test_a_young_series_has_permits_for_what_it_serves() -> None:
    series, at, rng = Series(), 1_795_000_000.0, np.random.default_rng(1)
    situation = Situation(at=at, ready=1, booting=0, permits=2, boot_s=4.0, min=1, max=10)
    short = 0

    for minute in range(120):
        load = (2.0, 4.0, 8.0, 4.0)[minute // 8 % 4]
        for step in range(12):
            at += 5.0
            seen = float(rng.poisson(load))
            series.observe(
                Span(until=at, seconds=5.0, load=seen, arrivals=2.5 * seen, service_s=2.0)
            )
            now = replace(situation, at=at)
            decision = series.floor(now) if step else series.decide(now)
            short += minute > 5 and 2 * decision.instances < load

    assert short < 30
