"""Shares of limits: never more than all of it together, and where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.limit_shares import LimitUse, Shares, Use
from services.control.sharing import NOT_NAMED, Sharing

NAME = "a/text-generation"
BUDGET = "a/neurons"


def sharing(keep_s: float = 30.0) -> Sharing:
    return Sharing(keep_s=keep_s, limit=lambda name: 100.0 if name == BUDGET else 600.0)


@dataclass
class FakeEntry:
    """An entry that acts on the answers which reach it."""

    name: str
    applied: int = 0
    even: float = 0.0
    named: dict[str, float] = field(default_factory=dict)
    used: float = 0.0

    def share(self, name: str = NAME) -> float:
        return self.named.get(name, self.even)

    def use(self, asked: float = 0.0, name: str = NAME) -> Use:
        limit = LimitUse(name=name, share=self.share(name), asked=asked, used=self.used)
        return Use(applied=self.applied, even=self.even, limits=(limit,))

    def hears(self, answer: Shares) -> None:
        self.applied, self.even = answer.number, answer.even
        if answer.complete:
            self.named.clear()
        for name, share in answer.shares.items():
            if share == NOT_NAMED:
                self.named.pop(name, None)
            else:
                self.named[name] = share


def rounds(
    control: Sharing,
    entries: list[tuple[FakeEntry, float]],
    *,
    seconds: int,
    now: float = 0.0,
    name: str = NAME,
) -> float:
    for _ in range(seconds):
        now += 1.0
        for entry, asked in entries:
            answer = control.heard(entry.name, entry.use(asked, name), now=now, day=0)
            entry.hears(answer)
    return now


def test_one_entry_has_all_of_it() -> None:
    control, one = sharing(), FakeEntry("one")

    one.hears(control.heard("one", one.use(), now=1.0, day=0))

    assert one.share() == 1.0


def test_two_have_even_parts_while_nobody_asks() -> None:
    control, one, two = sharing(), FakeEntry("one"), FakeEntry("two")

    rounds(control, [(one, 0.0), (two, 0.0)], seconds=5)

    assert (one.even, two.even) == (0.5, 0.5)
    assert not one.named


def test_a_limit_goes_where_it_is_asked_for_and_back() -> None:
    control, one, two = sharing(), FakeEntry("one"), FakeEntry("two")

    now = rounds(control, [(one, 10.0), (two, 0.0)], seconds=30)
    at_one = one.share()
    now = rounds(control, [(one, 10.0), (two, 30.0)], seconds=30, now=now)
    shared = two.share()
    rounds(control, [(one, 0.0), (two, 0.0)], seconds=120, now=now)

    assert at_one > 0.95
    assert 0.55 < shared < 0.78  # what the other uses is not all taken away
    assert (one.share(), two.share()) == (0.5, 0.5)
    assert not one.named
    assert not two.named


def test_a_lost_entry_keeps_its_share_until_it_has_given_it_up() -> None:
    control, one, two = sharing(keep_s=10.0), FakeEntry("one"), FakeEntry("two")
    now = rounds(control, [(one, 10.0), (two, 10.0)], seconds=10)

    now = rounds(control, [(two, 10.0)], seconds=14, now=now)
    before = two.share()
    rounds(control, [(two, 10.0)], seconds=4, now=now)

    assert before + one.share() <= 1.0
    assert two.share() == pytest.approx(1.0)


def test_a_new_control_believes_what_entries_have() -> None:
    old, one, two = sharing(), FakeEntry("one"), FakeEntry("two")
    rounds(old, [(one, 10.0), (two, 30.0)], seconds=30)
    new = Sharing(keep_s=30.0, limit=lambda _: 600.0, first_number=1000)

    rounds(new, [(one, 10.0), (two, 30.0)], seconds=40)

    assert one.share() + two.share() <= 1.0 + 1e-9
    assert 0.5 < two.share() < 0.78


def test_a_budget_is_never_given_twice() -> None:
    control, one, two = sharing(), FakeEntry("one"), FakeEntry("two")
    one.used = 60.0
    now = rounds(control, [(one, 0.0), (two, 5.0)], seconds=20, name=BUDGET)

    assert two.share(BUDGET) * 100 <= 40.0
    assert two.share(BUDGET) * 100 > 35.0
    again = FakeEntry("one")  # it was started anew, and has forgotten what it used
    rounds(control, [(again, 5.0), (two, 0.0)], seconds=20, now=now, name=BUDGET)
    assert again.share(BUDGET) + two.share(BUDGET) <= 0.4 + 1e-9
    assert control.spent() == {BUDGET: (60.0, 0)}


def test_what_was_used_before_control_began_counts() -> None:
    control, one = sharing(), FakeEntry("one")
    control.remember(BUDGET, 90.0, 0)

    rounds(control, [(one, 1.0)], seconds=3, name=BUDGET)

    assert one.share(BUDGET) <= 0.1 + 1e-9


def test_a_new_day_has_a_new_budget() -> None:
    control, one = sharing(), FakeEntry("one")
    control.remember(BUDGET, 90.0, 0)

    one.hears(control.heard("one", one.use(1.0, BUDGET), now=1.0, day=1))

    assert one.share(BUDGET) == pytest.approx(1.0)


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["report", "report", "answer", "answer", "lose"]),
        st.floats(0.0, 50.0),
    ),
    max_size=120,
)


@given(steps)
def test_all_shares_together_are_never_more_than_one(
    schedule: list[tuple[int, str, float]],
) -> None:
    """Reports and answers are late, or lost with their connection, in any order."""
    control = sharing()
    entries = [FakeEntry(name) for name in ("one", "two", "three")]
    on_their_way: list[list[Shares]] = [[], [], []]
    now = 0.0
    for which, what, asked in schedule:
        now += 0.2
        entry, answers = entries[which], on_their_way[which]
        if what == "report":
            answers.append(control.heard(entry.name, entry.use(asked), now=now, day=0))
        elif what == "answer" and answers:
            entry.hears(answers.pop(0))
        elif what == "lose":
            answers.clear()
        assert sum(each.share() for each in entries) <= 1.0 + 1e-9
        assert sum(each.even for each in entries) <= 1.0 + 1e-9
