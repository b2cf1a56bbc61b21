"""The queue's rule, worked out by hand, with 10 permits."""

from __future__ import annotations

import pytest

from services.scheduler.simulate.peers.queue import Queue
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import NOTHING, followed

CASES = {
    "enough: ceil(15 / 10) + 1": (3, 0, 15, 0, 3),
    "one is kept free": (2, 0, 15, 0, 3),
    "25 queued: ceil(45 / 10) + 1": (2, 0, 20, 25, 6),
    "those that boot already are not asked for again": (2, 4, 20, 25, 6),
    "25 queued are three more than there are": (5, 0, 30, 25, 8),
}


@pytest.mark.parametrize(
    ("ready", "booting", "in_flight", "queued", "expected"), CASES.values(), ids=CASES
)
def test_it_goes_up_at_once(
    ready: int, booting: int, in_flight: int, queued: int, expected: int
) -> None:
    queue = Queue(Terms(), spare=1, window_s=60)
    seen = NOTHING._replace(
        ready=ready, booting=booting, in_flight=in_flight, queued=queued, seconds=1.0, t=1.0
    )

    assert queue.wanted(seen) == expected


def test_it_goes_down_to_what_the_window_needed() -> None:
    queue = Queue(Terms(), spare=1, window_s=60)

    wanted = followed(queue, [35.0] + [12.0] * 70, ready=8)

    assert wanted[:60] == [5] * 60  # ceil(35 / 10) + 1
    assert wanted[60:] == [3] * 11  # the 35 was 60 s ago
