"""How well texts answer a query, by the words that they share with it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from demo import scenes
from demo.summary import COMMON

K, B = 1.2, 0.75  # BM25's usual values
LITTLE = frozenset(
    re.findall(r"\w+", "a an the is are was of to in on at and or do i it how who why for by")
)


def relevance(query: str, contexts: Sequence[str]) -> list[float]:
    """A score from 0 to 1 for each text: BM25 among these, as a share of the most there is."""
    wanted = set(_terms(query))
    found = [Counter(_terms(each)) for each in contexts]
    if not wanted or not found:
        return [0.0] * len(contexts)
    mean = max(1.0, sum(each.total() for each in found) / len(found))
    weights = {word: _rarity(sum(word in each for each in found), len(found)) for word in wanted}
    most = sum(weights.values()) * (K + 1)
    return [
        sum(weights[word] * _saturated(each[word], each.total() / mean) for word in wanted) / most
        for each in found
    ]


def _rarity(having: int, of: int) -> float:
    return math.log(1 + (of - having + 0.5) / (having + 0.5))


def _saturated(times: int, length: float) -> float:
    return times * (K + 1) / (times + K * (1 - B + B * length))


def _terms(text: str) -> list[str]:
    """The words that say something, in the singular."""
    words = (word for word in scenes.words(text) if word not in LITTLE and word not in COMMON)
    return [word.removesuffix("s") if len(word) > 3 else word for word in words]
