"""Pace: so many at once, then as fast as they come back, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from services.entry.pace import Pace


def taken(pace: Pace, key: str, now: float) -> bool:
    if pace.wait_s(key, now):
        return False
    pace.take(key, now)
    return True


def test_a_burst_goes_at_once_and_the_next_waits_for_one_to_come_back() -> None:
    pace = Pace(per_s=2.0, burst=4, most=10)

    assert [taken(pace, "a", 100.0) for _ in range(5)] == [True] * 4 + [False]
    assert 0.49 < pace.wait_s("a", 100.0) <= 0.5
    assert taken(pace, "a", 100.5)
    assert not taken(pace, "a", 100.5)
    assert taken(pace, "b", 100.5)


@given(st.lists(st.floats(0, 5), max_size=60))
def test_no_key_gets_more_than_its_burst_and_its_rate(steps: list[float]) -> None:
    pace, now, got = Pace(per_s=1.0, burst=3, most=10), 1000.0, 0
    for step in steps:
        now += step
        got += taken(pace, "a", now)

    assert got <= 3 + (now - 1000.0) + 1e-3
    assert not pace.wait_s("a", now + 1.01)


def test_keys_beyond_the_bound_push_out_those_heard_of_longest_ago() -> None:
    pace = Pace(per_s=1.0, burst=1, most=3)
    for key in ("a", "b", "c", "a", "d"):
        pace.take(key, 5.0)

    assert len(pace) == 3
    assert not pace.wait_s("b", 5.0)
    assert pace.wait_s("a", 5.0) > 1
