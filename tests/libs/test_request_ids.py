"""Request ids: sortable by time, unlike each other, with the shard in them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.request_ids import LENGTH, RequestIds, shard_of

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
IDS = RequestIds(random.Random(1))
MILLISECONDS = st.integers(0, 2**50 - 1)
SHARDS = st.integers(0, 2**15 - 1)


def number(letters: str) -> int:
    """What letters say in Crockford's base 32."""
    value = 0
    for letter in letters:
        value = value * 32 + ALPHABET.index(letter)
    return value


@given(MILLISECONDS, SHARDS)
def test_an_id_says_when_and_where(now_ms: int, shard: int) -> None:
    made = IDS.new(now_ms=now_ms, shard=shard)

    assert len(made) == LENGTH
    assert (number(made[:10]), shard_of(made)) == (now_ms, shard)


@given(MILLISECONDS, MILLISECONDS)
def test_ids_sort_by_time(one_ms: int, other_ms: int) -> None:
    one = IDS.new(now_ms=one_ms, shard=0)
    other = IDS.new(now_ms=other_ms, shard=0)

    assert (one[:10] < other[:10]) == (one_ms < other_ms)


def test_ids_of_the_same_millisecond_differ() -> None:
    made = {IDS.new(now_ms=5, shard=0) for _ in range(10_000)}

    assert len(made) == 10_000


def test_every_letter_is_as_likely_in_every_random_place() -> None:
    ids = RequestIds(random.Random(2))
    made = [ids.new(now_ms=5, shard=0) for _ in range(6_400)]

    for place in range(10, 23):
        counts = [sum(each[place] == letter for each in made) for letter in ALPHABET]
        assert min(counts) > 120  # 200 each, give or take 14
        assert max(counts) < 280


@pytest.mark.parametrize(
    "text",
    ["", "0" * 25, "0" * 27, "0" * 25 + "U", "0" * 25 + "a", "é" * 26],
    ids=["empty", "short", "long", "a letter that is not used", "lower case", "no ASCII"],
)
def test_what_is_no_id_names_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="not a request id"):
        shard_of(text)
