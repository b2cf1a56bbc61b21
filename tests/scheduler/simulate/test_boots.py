"""Boots that vary and fail."""

from __future__ import annotations

import numpy as np
import pytest

from services.scheduler.simulate.boots import BootLaw, Boots


def drawn(law: BootLaw, count: int, seed: int = 1) -> list[int]:
    """The first boots by a law."""
    boots = Boots(law, seed)
    return [boots() for _ in range(count)]


def test_a_boot_takes_what_it_takes() -> None:
    assert drawn(BootLaw(mean_s=120), 5) == [120] * 5


def test_boots_vary_around_their_mean() -> None:
    times = drawn(BootLaw(mean_s=100, cv=0.5), 4000)

    assert np.mean(times) == pytest.approx(100, rel=0.03)
    assert np.std(times) == pytest.approx(50, rel=0.1)


def test_one_that_fails_is_tried_again_after_a_pause_that_doubles() -> None:
    times = drawn(BootLaw(mean_s=100, failures=0.5), 4000)

    # 100; 100 + 10 + 100; and 20 more; and 40 more; ...
    assert sorted(set(times))[:4] == [100, 210, 330, 470]
    shares = [times.count(each) / len(times) for each in (100, 210, 330)]
    assert shares == pytest.approx([0.5, 0.25, 0.125], abs=0.03)


def test_the_same_seed_gives_the_same_boots() -> None:
    law = BootLaw(mean_s=100, cv=0.5, failures=0.2)

    assert drawn(law, 20) == drawn(law, 20) != drawn(law, 20, seed=2)
