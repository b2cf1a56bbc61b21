"""Up at once, down late, never by more than the wait allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.damping import Damping
from services.scheduler.usage import Key

KEY = Key("m", "eu")


def run(required: list[tuple[float, int]], *, start: int, down_after_s: float = 60) -> list[int]:
    damping, current, seen = Damping(down_after_s=down_after_s), start, []
    for at, instances in required:
        current, _ = damping.desired(KEY, instances, current=current, at=at)
        seen.append(current)
    return seen


def test_up_at_once() -> None:
    assert run([(0, 1), (1, 5), (2, 9)], start=0) == [1, 5, 9]


def test_down_after_the_wait_to_the_most_that_was_needed_in_it() -> None:
    assert run([(0, 1), (30, 3), (59, 1), (60, 1), (61, 1), (121, 1)], start=5) == [
        *(5, 5, 5),
        3,
        3,
        1,
    ]


def test_a_return_begins_the_wait_anew() -> None:
    assert run([(0, 1), (50, 5), (61, 1), (120, 1), (121, 1)], start=5) == [5, 5, 5, 5, 1]


def test_without_a_wait_it_follows() -> None:
    assert run([(0, 5), (1, 1), (2, 4)], start=3, down_after_s=0) == [5, 1, 4]


def test_it_says_what_it_waits_for() -> None:
    damping = Damping(down_after_s=60)
    damping.desired(KEY, 1, current=2, at=0)

    assert damping.desired(KEY, 1, current=2, at=20) == (2, "lower for 20 of 60 s")


def test_keys_that_are_gone_are_forgotten() -> None:
    damping = Damping(down_after_s=60)
    damping.desired(KEY, 1, current=2, at=0)
    damping.forget(set())

    assert damping.desired(KEY, 1, current=2, at=60)[0] == 2


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(0, 60),
)
def test_what_was_needed_within_the_wait_is_kept(
    steps: list[tuple[int, int]], down_after_s: int
) -> None:
    at, timed = 0, []
    for gap, required in steps:
        at += gap
        timed.append((float(at), required))
    desired = run(timed, start=0, down_after_s=down_after_s)

    for index, (now, required) in enumerate(timed):
        assert desired[index] >= required
        within = [need for then, need in timed[: index + 1] if now - then < down_after_s]
        assert desired[index] >= max(within, default=required)
        assert desired[index] <= max(need for _, need in timed[: index + 1])
