"""Outliers: who is sick beside the others, for how long it is left alone, how it comes back."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.server.outliers import (
    DEAD,
    EJECTED,
    FAILING,
    HEALTHY,
    LOST,
    SLOW,
    TRIAL,
    Condition,
    Limits,
    Recent,
    backoff_s,
    fails_in_row,
    fails_often,
    is_panic,
    is_slow,
    streak,
)

LIMITS = Limits()
RECENT = st.builds(
    Recent,
    answered=st.integers(0, 100),
    failed=st.integers(0, 100),
)


def answers(count: int, *, each_s: float = 0.01, failed: int = 0) -> Recent:
    return Recent(answered=count, failed=failed, typical_us=each_s * 1e6)


def is_failing(mine: Recent, others: Sequence[Recent], limits: Limits) -> bool:
    return fails_in_row(mine, others, limits) or fails_often(mine, others, limits)


WELL, SICK = answers(100), answers(10, failed=90)


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        (Recent(in_row=4, failed=4), [], False),
        (Recent(in_row=5, failed=5), [], True),
        (Recent(in_row=5, failed=5), [WELL], True),
        (Recent(in_row=5, failed=5), [SICK], False),
        (Recent(in_row=9, failed=9), [WELL, WELL, SICK], False),
        (Recent(in_row=10, failed=10), [WELL, WELL, SICK], True),
        (answers(9, failed=10), [WELL], False),
        (answers(10, failed=10), [WELL], True),
        (answers(30, failed=10), [WELL], False),
        (Recent(in_row=5, failed=5), [Recent(failed=4)], True),
    ],
    ids=[
        "four in a row",
        "five, alone",
        "five, another is well",
        "five, the other fails too",
        "nine, where a third of the others' calls fail",
        "ten, where a third of the others' calls fail",
        "half of too few",
        "half of enough",
        "a quarter",
        "of the others there is not enough to tell",
    ],
)
def test_who_fails(mine: Recent, others: list[Recent], expected: bool) -> None:
    assert is_failing(mine, others, LIMITS) is expected


@pytest.mark.parametrize(
    ("mine_s", "calls", "others_s", "expected"),
    [
        (1.0, 10, [0.1, 0.1], True),
        (1.0, 9, [0.1, 0.1], False),
        (0.49, 20, [0.1], False),
        (0.51, 20, [0.1], True),
        (0.05, 20, [0.001], False),
        (0.11, 20, [0.001], True),
        (9.0, 20, [], False),
        (1.0, 20, [0.1, 0.9, 0.9], False),
    ],
    ids=[
        "ten times as long",
        "too few calls",
        "not five times as long",
        "five times as long",
        "milliseconds",
        "a tenth of a second",
        "nobody beside it",
        "most are slow",
    ],
)
def test_who_is_slow(mine_s: float, calls: int, others_s: list[float], expected: bool) -> None:
    others = [answers(20, each_s=each) for each in others_s]

    assert is_slow(answers(calls, each_s=mine_s), others, LIMITS) is expected


def test_one_long_call_makes_nobody_slow() -> None:
    condition = Condition()
    for us in [100_000] * 20 + [600_000_000]:
        condition.succeeded(us, 0.0)

    assert not is_slow(condition.recent(), [answers(20, each_s=0.1)], LIMITS)


@given(before=st.integers(0, 10_000))
def test_who_becomes_slow_is_found_within_so_many_calls_however_quick_it_was(before: int) -> None:
    condition, others = Condition(), [answers(20, each_s=0.01)]
    for _ in range(before):
        condition.succeeded(10_000, 0.0)

    calls = 0
    while not is_slow(condition.recent(), others, LIMITS):
        condition.succeeded(500_000, 0.0)
        calls += 1

    assert calls <= 13


@given(st.lists(RECENT, min_size=1, max_size=6))
def test_not_all_can_fail_more_than_the_others(every: list[Recent]) -> None:
    """Where there is enough to tell, what fails everywhere is nobody's fault."""
    enough = [each for each in every if each.answered + each.failed >= LIMITS.error_calls]
    found = [
        is_failing(each, [other for other in enough if other is not each], LIMITS)
        for each in enough
    ]

    assert len(enough) < 2 or not all(found)


@given(one=st.floats(0, 1), other=st.floats(0, 1))
def test_the_more_usual_failures_are_the_longer_is_a_streak_that_means_something(
    one: float, other: float
) -> None:
    rarer, oftener = sorted((one, other))

    assert LIMITS.failures_in_row <= streak(rarer, LIMITS) <= streak(oftener, LIMITS)


@pytest.mark.parametrize(
    ("healthy", "all_", "share", "expected"),
    [
        (0, 0, 0.25, False),
        (0, 1, 0.25, True),
        (0, 1, 0.0, True),
        (1, 4, 0.25, False),
        (1, 5, 0.25, True),
        (2, 4, 0.5, False),
        (1, 4, 0.5, True),
    ],
)
def test_when_it_is_a_panic(healthy: int, all_: int, share: float, expected: bool) -> None:
    assert is_panic(healthy, all_, Limits(panic_share=share)) is expected


@given(
    ejections=st.integers(0, 1000),
    cause=st.sampled_from([LOST, DEAD, FAILING, SLOW]),
    seed=st.integers(0, 2**32),
)
def test_a_backoff_doubles_up_to_its_bound_with_jitter(
    ejections: int, cause: str, seed: int
) -> None:
    first = 0.25 if cause in (LOST, DEAD) else 5.0
    planned = min(first * 2 ** min(ejections, 40), 10.0)

    found = backoff_s(ejections, cause, LIMITS, random.Random(seed))

    assert 0.8 * planned <= found <= 1.2 * planned


@given(
    batches=st.lists(
        st.lists(st.one_of(st.integers(1, 10**9), st.none()), max_size=5), max_size=100
    )
)
def test_a_condition_knows_what_was_within_its_window_and_since(
    batches: list[list[int | None]],
) -> None:
    limits = Limits(window_s=5.0)  # ten samples
    condition = Condition()

    for number, batch in enumerate(batches):
        for us in batch:
            condition.went_wrong(0.0) if us is None else condition.succeeded(us, 0.0)
        kept = [us for each in batches[max(0, number - 10) : number + 1] for us in each]
        good = [us for us in kept if us is not None]
        recent = condition.recent()
        condition.sample(limits)

        assert (recent.answered, recent.failed) == (len(good), len(kept) - len(good))


def on_trial(cause: str = FAILING) -> Condition:
    condition = Condition()
    condition.eject(cause, 10.0, LIMITS, random.Random(1))
    condition.try_again(20.0, LIMITS)
    return condition


def test_a_trial_ends_well_after_enough_answers() -> None:
    condition = on_trial()

    ends = [condition.succeeded(1000, 21.0) for _ in range(3)]

    assert (ends, condition.trials_left) == ([False, False, True], 0)


def test_one_failure_ends_a_trial() -> None:
    condition = on_trial()
    condition.succeeded(1000, 21.0)

    assert condition.went_wrong(21.0)
    assert condition.trials_left < 0


def test_what_was_leased_before_the_trial_says_nothing_about_it() -> None:
    condition = on_trial()

    assert not condition.went_wrong(19.0)
    assert not condition.succeeded(10**9, 19.0)
    assert condition.trials_left == LIMITS.trials


def test_who_was_slow_must_not_be_it_again() -> None:
    condition = on_trial(SLOW)
    condition.slow_us = 500_000

    assert condition.succeeded(600_000, 21.0)
    assert condition.trials_left < 0


def test_each_ejection_lasts_longer_until_it_did_well_for_a_while() -> None:
    condition, rng, now = Condition(), random.Random(1), 1000.0
    lasted = []

    for good_s in (1.0, 1.0, 1.0, 60.0):
        condition.eject(LOST, now, LIMITS, rng)
        lasted.append(condition.retry_at - now)
        condition.recover(now)
        now += good_s
    condition.eject(LOST, now, LIMITS, rng)
    lasted.append(condition.retry_at - now)

    assert [round(math.log2(each / 0.25)) for each in lasted] == [0, 1, 2, 3, 0]


def test_what_was_before_is_not_held_against_who_recovered() -> None:
    condition = Condition()
    for _ in range(30):
        condition.went_wrong(0.0)
    condition.sample(LIMITS)
    condition.eject(FAILING, 10.0, LIMITS, random.Random(1))
    condition.recover(20.0)

    assert condition.recent() == Recent()
    assert (condition.state, condition.cause, condition.lives) == (HEALTHY, "", 0)


STEPS = st.lists(
    st.sampled_from(["answer", "fail", "eject", "retry", "recover", "sample"]), max_size=60
)


@given(steps=STEPS)
def test_a_condition_is_always_one_of_three_and_bounded(steps: list[str]) -> None:
    condition, rng, now = Condition(), random.Random(1), 100.0

    for step in steps:
        now += 0.5
        match step:
            case "answer":
                condition.succeeded(1000, now)
            case "fail":
                condition.went_wrong(now)
            case "eject":
                condition.eject(LOST, now, LIMITS, rng)
            case "retry":
                condition.try_again(now, LIMITS)
            case "recover":
                condition.recover(now)
            case "sample":
                condition.sample(LIMITS)

        assert condition.state in (HEALTHY, EJECTED, TRIAL)
        assert condition.retry_at <= now + 1.2 * LIMITS.longest_backoff_s
        assert condition.trials_left <= LIMITS.trials
        recent = condition.recent()
        assert min(recent.answered, recent.failed, recent.in_row) >= 0
