"""Five times as much as there is: goodput, shares, waits and rejections, in virtual time."""

from __future__ import annotations

import pytest

from tests import virtual_time
from tests.server.overload import Overload, Source

CAPACITY = 40.0
SOURCES = {
    "flood": Source(weight=1, offers=3.0 * CAPACITY),
    "large": Source(weight=1, offers=0.8 * CAPACITY, cost=4),
    "double": Source(weight=2, offers=1.2 * CAPACITY),
}


@pytest.mark.parametrize(
    ("load", "longer"),
    [
        (Overload(sources=SOURCES), 1.1),
        (Overload(sources=SOURCES, queue=128, varies=0.3), 1.1),
        (Overload(sources=SOURCES, endpoints=(8, 8), service_s=0.4), 1.1),
        # One endpoint of 8: half of it has to come free for each large call.
        (Overload(sources=SOURCES, endpoints=(8,), service_s=0.2, varies=0.3), 1.2),
        (Overload(sources=SOURCES, queue=32, seed=2), 1.1),
    ],
    ids=["as the bench", "service times vary", "small endpoints", "one endpoint", "short queue"],
)
def test_five_times_the_capacity_is_shared_by_weight_and_nobody_waits_longer_than_its_part(
    load: Overload, longer: float
) -> None:
    got = virtual_time.run(load.run())

    assert load.capacity == pytest.approx(CAPACITY)
    total = sum(each.served for each in got.values())
    assert total >= 0.95 * CAPACITY * load.seconds
    weights = sum(each.weight for each in SOURCES.values())
    for name, each in got.items():
        share = SOURCES[name].weight / weights
        assert each.served / total == pytest.approx(share, rel=0.05), name
        assert each.p99 <= longer * load.queue * share / (each.served / load.seconds), name
    rejections = sorted(took for each in got.values() for took in each.rejections)
    assert rejections[len(rejections) // 2] < 0.010


def test_who_offers_less_than_its_share_is_served_all_of_it_and_hardly_waits() -> None:
    sources = SOURCES | {"quiet": Source(weight=1, offers=3.0)}

    got = virtual_time.run(Overload(sources=sources).run())

    assert not got["quiet"].rejections
    assert got["quiet"].p99 < 0.8  # what a call takes


def test_one_account_alone_has_everything() -> None:
    load = Overload(sources={"alone": Source(weight=1, offers=5 * CAPACITY)})

    got = virtual_time.run(load.run())

    assert got["alone"].served >= 0.99 * CAPACITY * load.seconds
    assert got["alone"].p99 <= 1.05 * load.queue / CAPACITY
