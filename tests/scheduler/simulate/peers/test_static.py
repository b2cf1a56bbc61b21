"""A fixed number of instances."""

from __future__ import annotations

import pytest

from services.scheduler.simulate.peers.static import Static
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import NOTHING


@pytest.mark.parametrize(("share", "expected"), [(1.0, 7), (0.5, 4)])
def test_the_peak_is_always_there(share: float, expected: int) -> None:
    static = Static(Terms(peak=7), share=share)

    assert static.wanted(NOTHING) == expected
    assert static.wanted(NOTHING._replace(t=60, seconds=60, mean_demand=1000)) == expected
