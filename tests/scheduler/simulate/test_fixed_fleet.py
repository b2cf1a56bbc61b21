"""Models that share places: who waits for one, who gives way, and the clairvoyant's way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from services.scheduler.deciding.minutes import Floats
from services.scheduler.simulate.fixed_fleet import FixedFleet, replay_fleet, work_in_time
from services.scheduler.simulate.fleet_clairvoyant import fleet_clairvoyant
from services.scheduler.simulate.policy import Observation, Terms
from services.scheduler.simulate.service import Service
from tests.scheduler.simulate.loads import Request, load
from tests.scheduler.simulate.loads import service as service_of

ONE_CALL = Terms(permits=1, boot_s=10, minimum=1, maximum=9)


@dataclass
class Told:
    """Wants what it is told by time."""

    wants: Callable[[float], int]
    every_s: float = 5

    def wanted(self, seen: Observation) -> int:
        return self.wants(seen.t)


@dataclass
class Worthy(Told):
    """Knows what instances are worth, too."""

    each: float = 1.0

    def worth(self, most: int) -> Floats:
        return np.arange(most + 1) * self.each


def service(requests: Sequence[Request] = ((0, 1),), *, seconds: int = 60) -> Service:
    return service_of(load(requests, seconds=seconds), ONE_CALL)


def test_who_wants_more_than_is_free_waits_for_the_rest() -> None:
    first, second = Told(lambda t: 4), Told(lambda t: 4)

    (one, other), _ = replay_fleet([service(), service()], [first, second], 5)

    # at 0 they have one each, and three are free: it is the second's turn
    assert (one.paid[29], other.paid[29]) == (1, 4)
    assert (one.paid + other.paid).max() == 5


def test_a_place_is_taken_until_it_is_empty() -> None:
    drains = service([(0, 1), (0, 40)])
    wants = Told(lambda t: 2 if t < 20 else 1)
    waits = Told(lambda t: 1 if t < 20 else 2)
    busy = service([(12, 30), (12, 30)])

    (one, other), _ = replay_fleet([busy, drains], [wants, waits], 3)

    assert one.paid[19:42].tolist() == [2] * 23  # two calls until 42, one of them drains
    assert other.paid[41] == 1
    assert other.paid[45] == 2


def test_worth_decides_where_not_all_fits() -> None:
    poor, rich = Worthy(lambda t: 4, each=1.0), Worthy(lambda t: 4 if t >= 20 else 1, each=2.0)

    (one, other), _ = replay_fleet([service(), service()], [poor, rich], 5)

    assert (one.paid[19], other.paid[19]) == (4, 1)
    assert (one.paid[30], other.paid[30]) == (1, 4)


def test_minima_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="at least 2 places"):
        FixedFleet([service(), service()], 1)


def test_traces_of_two_lengths_are_told() -> None:
    with pytest.raises(ValueError, match="one length"):
        FixedFleet([service(), service(seconds=50)], 2)


def test_the_clairvoyant_has_places_where_they_serve() -> None:
    seconds = 1200
    early = [(t, 2) for t in range(60, 600)]  # two calls at a time for nine minutes
    late = [(t, 2) for t in range(660, 1200)]

    def both() -> list[Service]:
        return [service(early, seconds=seconds), service(late, seconds=seconds)]

    found = fleet_clairvoyant(both, 3)

    everything = sum(len(each) for each in (early, late)) * 2.0
    assert work_in_time([each.load for each in both()], found) > 0.95 * everything
    assert found[0].serving[300] == 2
    assert found[1].serving[900] == 2
