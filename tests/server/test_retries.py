"""The retry budget: a share of the calls, and a few per second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.server.retries import KEPT_S, RetryBudget, RetryLimits

LIMITS = RetryLimits(share=0.2, per_s=3.0)


def taken(budget: RetryBudget, *, calls: int, now: float, tries: int = 1000) -> int:
    return sum(budget.take(LIMITS, calls=calls, now=now) for _ in range(tries))


def test_a_new_shard_may_retry_a_few() -> None:
    assert taken(RetryBudget(), calls=0, now=1e6) == 30  # of ten seconds


def test_a_share_of_the_calls_may_be_retried() -> None:
    budget = RetryBudget()
    taken(budget, calls=0, now=0)

    assert taken(budget, calls=500, now=1) == 103  # a fifth, and three for the second


def test_what_was_saved_up_is_forgotten() -> None:
    budget = RetryBudget()
    taken(budget, calls=0, now=0)

    assert taken(budget, calls=60_000, now=600) == 230  # of the last ten seconds of ten minutes


def test_without_a_budget_nothing_is_retried() -> None:
    assert not RetryBudget().take(RetryLimits(share=0, per_s=0), calls=100, now=5)


@given(steps=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 200)), max_size=100))
def test_never_more_than_the_share_and_the_seconds_and_what_it_began_with(
    steps: list[tuple[float, int]],
) -> None:
    budget, now, calls, retries = RetryBudget(), 0.0, 0, 0

    for passed, came in steps:
        now, calls = now + passed, calls + came
        retries += taken(budget, calls=calls, now=now, tries=50)

        assert retries <= LIMITS.share * calls + LIMITS.per_s * (now + KEPT_S) + 1e-6
