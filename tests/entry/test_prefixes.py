"""Prefix hashes: the same for the same beginning, and for nobody else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.entry.prefixes import BLOCK, ENDS, MOST, Prefixes

PREFIXES = Prefixes("s")


def of(text: str, account: str = "a", adapter: str = "") -> tuple[int, ...]:
    return PREFIXES.of(text, account=account, adapter=adapter)


@pytest.mark.parametrize(
    ("size", "hashes"),
    [(0, 0), (BLOCK - 1, 0), (BLOCK, 1), (2 * BLOCK - 1, 1), (4 * BLOCK, 4), (12 * BLOCK, 7)],
)
def test_a_prompt_is_hashed_at_the_lengths_that_it_has(size: int, hashes: int) -> None:
    assert len(of("a" * size)) == hashes


def test_bytes_count_and_not_characters() -> None:
    assert len(of("é" * (BLOCK // 2))) == 1


def test_the_longest_prompt_has_a_bounded_number() -> None:
    assert len(of("a" * (2 * ENDS[-1]))) == MOST == len(ENDS)


def test_lengths_are_never_farther_apart_than_half_of_what_came_before() -> None:
    assert ENDS[:2] == (BLOCK, 2 * BLOCK)
    assert all(after <= before * 1.5 for before, after in pairwise(ENDS[1:]))


@given(st.text(min_size=BLOCK, max_size=4000), st.text(max_size=4000))
def test_what_goes_on_begins_with_the_same_hashes(text: str, more: str) -> None:
    before, after = of(text), of(text + more)

    assert after[: len(before)] == before


@given(st.integers(0, 3999))
def test_what_differs_has_no_hash_of_what_follows_in_common(at: int) -> None:
    text = "a" * 4000
    other = text[:at] + "b" + text[at + 1 :]

    same = sum(end <= at for end in ENDS)
    assert of(text)[:same] == of(other)[:same]
    assert not set(of(text)[same:]) & set(of(other)[same:])


def test_accounts_adapters_and_secrets_have_nothing_in_common() -> None:
    text = "a" * 8000
    found = [
        of(text),
        of(text, account="b"),
        of(text, adapter="x"),
        Prefixes("other").of(text, account="a"),
    ]

    assert len(set().union(*found)) == sum(map(len, found))


def test_entries_with_the_same_secret_agree() -> None:
    assert Prefixes("s").of("a" * 999, account="a") == of("a" * 999)
