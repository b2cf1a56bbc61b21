"""The model of queues against the formula for them: a fixed fleet, Poisson arrivals, Erlang C."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from services.scheduler.simulate.conditions import Conditions, trial_on
from services.scheduler.simulate.load import ServiceLaw
from services.scheduler.simulate.policy import Observation
from services.scheduler.simulate.replay import replay
from services.scheduler.simulate.traces import read
from tests.scheduler.deciding.test_sizing import erlang_c

SERVICE_S = 20.0
PERMITS = 8
BIN_S = 100
STEP_S = 1.0


class Fixed:
    """Has always so many."""

    every_s = 1000.0

    def __init__(self, count: int) -> None:
        self._count = count

    def wanted(self, seen: Observation) -> int:
        return self._count


@pytest.mark.parametrize(
    ("rate", "instances"), [(0.32, 1), (0.7, 2), (1.3, 4)], ids=["one", "two, busy", "four"]
)
def test_as_many_are_late_as_erlang_c_says(rate: float, instances: int, tmp_path: Path) -> None:
    trace = tmp_path / "poisson.csv"
    counts = np.random.default_rng(5).poisson(BIN_S * rate, 4000)
    lines = [f"{BIN_S * at},{count}" for at, count in enumerate(counts)]
    trace.write_text("\n".join(["t,requests", *lines]) + "\n")
    conditions = Conditions(
        permits=PERMITS,
        service=ServiceLaw(mean_s=SERVICE_S, cv=1.0),
        minimum=instances,
        maximum=instances,
        max_wait_s=86_400,
        warmup_days=0.1,
    )

    found = replay(trial_on(read(trace), conditions).new_service(), Fixed(instances)).outcome

    load, permits = rate * SERVICE_S, PERMITS * instances

    def waits(seconds: float) -> float:
        return erlang_c(load, permits) * math.exp(-(permits - load) * seconds / SERVICE_S)

    # who comes in the middle of a step, as all do on average, is late half a step later
    assert found.late_share == pytest.approx(waits(STEP_S / 2), rel=0.06)
    assert found.very_late_share == pytest.approx(waits(10.0), rel=0.06)
