"""Which hours the roll-up answers: examples, and that nothing counts twice or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.stores.clickhouse_hours import (
    DAY_MS,
    END_MS,
    HOUR_MS,
    SETTLED_MS,
    SPAN_MS,
    RolledUp,
    Sources,
    affected,
    closed_through,
    kept_from,
    sources,
)

H = HOUR_MS


@pytest.mark.parametrize(
    ("question", "rolled_up", "rolled", "raw"),
    [
        pytest.param((0, 0), RolledUp(), (), ((0, END_MS),), id="nothing is rolled up"),
        pytest.param(
            (0, 0), RolledUp(through_ms=9 * H), ((0, 9 * H),), ((9 * H, END_MS),), id="all"
        ),
        pytest.param(
            (2 * H, 5 * H), RolledUp(through_ms=9 * H), ((2 * H, 5 * H),), (), id="whole hours"
        ),
        pytest.param(
            (2 * H + 1, 5 * H + 7),
            RolledUp(through_ms=9 * H),
            ((3 * H, 5 * H),),
            ((2 * H + 1, 3 * H), (5 * H, 5 * H + 7)),
            id="parts of hours",
        ),
        pytest.param(
            (2 * H + 1, 2 * H + 5),
            RolledUp(through_ms=9 * H),
            (),
            ((2 * H + 1, 2 * H + 5),),
            id="within an hour",
        ),
        pytest.param(
            (0, 0),
            RolledUp(through_ms=9 * H, stale=frozenset({3 * H, 4 * H, 20 * H})),
            ((0, 3 * H), (5 * H, 9 * H)),
            ((3 * H, 5 * H), (9 * H, END_MS)),
            id="stale hours",
        ),
        pytest.param(
            (2 * H + 1, 0),
            RolledUp(through_ms=9 * H, kept_from_ms=6 * H, stale=frozenset({4 * H, 7 * H})),
            ((3 * H, 7 * H), (8 * H, 9 * H)),
            ((7 * H, 8 * H), (9 * H, END_MS)),
            id="events that are gone",
        ),
        pytest.param(
            (2 * H, 4 * H + 7),
            RolledUp(through_ms=9 * H, kept_from_ms=6 * H),
            ((2 * H, 4 * H + 7),),
            (),
            id="an hour that begins within the range, where no event is left",
        ),
        pytest.param(
            (0, 0),
            RolledUp(through_ms=4 * H, kept_from_ms=6 * H),
            ((0, 4 * H),),
            ((4 * H, END_MS),),
            id="nobody rolled up for long",
        ),
    ],
)
def test_a_question_is_divided(
    question: tuple[int, int],
    rolled_up: RolledUp,
    rolled: tuple[tuple[int, int], ...],
    raw: tuple[tuple[int, int], ...],
) -> None:
    assert sources(*question, rolled_up=rolled_up) == Sources(rolled=rolled, raw=raw)


HOURS = st.integers(0, 12).map(lambda hour: hour * H)
MOMENTS = st.integers(0, 12 * H)


@given(
    question=st.tuples(MOMENTS, MOMENTS).map(sorted),
    through=HOURS,
    kept=HOURS,
    stale=st.frozensets(HOURS),
    moment=MOMENTS,
)
def test_each_moment_has_one_source(
    question: list[int], through: int, kept: int, stale: frozenset[int], moment: int
) -> None:
    first, last = question[0], question[1] + 1
    rolled_up = RolledUp(through_ms=through, stale=stale, kept_from_ms=kept)

    found = sources(first, last, rolled_up=rolled_up)

    hour = moment - moment % H
    raw = [begin <= moment < end for begin, end in found.raw]
    rolled = [begin <= hour < end for begin, end in found.rolled]
    if hour < min(through, kept):  # only the roll-up has it
        assert sum(raw) + sum(rolled) == (first <= hour < last)
        assert not any(raw)
    else:
        assert sum(raw) + sum(rolled) == (first <= moment < last)
        if any(rolled):
            assert hour < through
            assert hour not in stale


def test_an_hour_is_closed_when_nothing_of_it_is_to_be_expected() -> None:
    at = 100 * H + SPAN_MS + 2 * SETTLED_MS

    assert closed_through(at) == 100 * H
    assert closed_through(at - 1) == 99 * H
    assert closed_through(5) == 0


def test_events_are_all_there_from_an_hour_on() -> None:
    assert kept_from(1000 * DAY_MS, retention_days=0) == 0
    assert kept_from(1000 * DAY_MS, retention_days=90) == 910 * DAY_MS + SPAN_MS
    assert kept_from(1000 * DAY_MS + 1, retention_days=90) == 910 * DAY_MS + H + SPAN_MS
    assert kept_from(DAY_MS, retention_days=90) == 0


def test_an_attempt_may_belong_to_a_request_of_the_hour_before_or_after() -> None:
    assert affected([0, 5 * H]) == {0, H, 4 * H, 5 * H, 6 * H}
