"""Windows: sums of the last samples, kept as samples come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.server.windows import PermitWindow, RollingSums

SAMPLES = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(0, 10**12)), max_size=60)


@given(samples=SAMPLES, length=st.integers(1, 20))
def test_the_sums_are_those_of_the_last_samples(
    samples: list[tuple[int, int]], length: int
) -> None:
    window = RollingSums(length, width=2)

    for number, sample in enumerate(samples):
        window.add(sample)
        kept = samples[: number + 1][-length:]

        assert window.sums == tuple(map(sum, zip(*kept, strict=True)))
        assert window.count == len(kept)


def test_a_cleared_window_begins_anew() -> None:
    window = RollingSums(2, width=1)
    for value in (1, 2, 3):
        window.add((value,))

    window.clear()
    window.add((4,))

    assert (window.sums, window.count) == ((4,), 1)


@pytest.mark.parametrize(
    ("total", "available", "queued", "is_full"),
    [
        (4, 1, 0, False),
        (4, 0, 0, True),
        (4, 0, 9, True),
        (0, 0, 0, False),
        (0, 0, 1, True),
    ],
    ids=["room", "all used", "and a queue", "no endpoint, nobody asks", "no endpoint, one waits"],
)
def test_when_a_model_is_full(total: int, available: int, queued: int, is_full: bool) -> None:
    window = PermitWindow()

    window.add(total=total, available=available, queued=queued)

    assert window.full_fraction == is_full


def test_the_means_of_five_minutes() -> None:
    window = PermitWindow()
    assert (window.full_fraction, window.mean_used_permits, window.mean_queue_size) == (0, 0, 0)

    for _ in range(1000):  # long ago
        window.add(total=8, available=0, queued=50)
    for number in range(600):
        window.add(total=4, available=number % 2, queued=number % 3)

    assert window.full_fraction == 0.5
    assert window.mean_used_permits == 3.5
    assert window.mean_queue_size == 1.0


def test_permits_that_went_while_they_were_used_are_used() -> None:
    window = PermitWindow()

    window.add(total=1, available=2, queued=0)  # never seen, and no reason to be less than nothing

    assert window.mean_used_permits == 0
