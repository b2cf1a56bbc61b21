"""One limit at several entries: control's shares and entries' buckets together, in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.common.limit_shares import LimitUse, Shares, Use
from services.control.sharing import NOT_NAMED, Sharing
from services.entry.buckets import Bucket

NAME = "a/text-generation"
ENTRIES = 3


class At:
    """An entry with its bucket, and the answers that are on their way to it."""

    def __init__(self, name: str, per_minute: float) -> None:
        self.name = name
        self.bucket = Bucket(NAME, per_minute, 0.0, 0.0)
        self.answers: list[Shares] = []
        self.applied, self.even = 0, 0.0
        self.named: float | None = None

    def use(self) -> Use:
        asked, self.bucket.asked = self.bucket.asked, 0.0
        limit = LimitUse(name=NAME, share=self.bucket.share, asked=asked)
        return Use(applied=self.applied, even=self.even, limits=(limit,))

    def hear(self, now: float) -> None:
        if not self.answers:
            return
        answer = self.answers.pop(0)
        self.applied, self.even = answer.number, answer.even
        if answer.complete:
            self.named = None
        if NAME in answer.shares:
            share = answer.shares[NAME]
            self.named = None if share == NOT_NAMED else share
        share = self.even if self.named is None else self.named
        self.bucket.divide(self.bucket.per_minute, share, now)


steps = st.lists(
    st.tuples(
        st.integers(0, ENTRIES - 1),
        st.sampled_from(["calls", "calls", "report", "hears", "report", "hears", "lost"]),
        st.integers(1, 60),
        st.floats(0.0, 3.0),
    ),
    max_size=150,
)


@given(steps, st.sampled_from([6.0, 60.0, 600.0]))
def test_all_entries_together_let_no_more_through_than_rate_times_time_and_burst(
    schedule: list[tuple[int, str, int, float]], per_minute: float
) -> None:
    """Whatever is late or lost, an entry may overdraw by one call; each report loses nothing."""
    control = Sharing(keep_s=1000.0, limit=lambda _: per_minute)
    entries = [At(f"entry-{at}", per_minute) for at in range(ENTRIES)]
    now, passed = 0.0, 0
    for which, what, calls, elapsed in schedule:
        now += elapsed
        entry = entries[which]
        if what == "calls":
            passed += sum(entry.bucket.take(1.0, now) for _ in range(calls))
        elif what == "report":
            entry.answers.append(control.heard(entry.name, entry.use(), now=now, day=0))
        elif what == "hears":
            entry.hear(now)
        else:
            entry.answers.clear()
        assert passed <= per_minute * (1 + now / 60) + ENTRIES + 1e-6
