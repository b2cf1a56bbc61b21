"""Whether a text is pleased or not: a logistic regression on its words, made by `train.py`.

The same words are told from one another by whether they are denied: "not good" counts as a word of
its own. Words that were not in the training texts count by how they begin, or not at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

LABELS = ("NEGATIVE", "POSITIVE")
DENIALS = frozenset(
    ("not", "no", "never", "without", "hardly", "nothing", "nor", "cannot", "n't", "neither")
)
REACH = 3  # words after a denial that it denies
STEM = 5  # letters by which words are alike


class Sentiment:
    """The weights of the features."""

    def __init__(self, weights: Mapping[str, float], bias: float) -> None:
        self._weights = weights
        self._bias = bias

    def __repr__(self) -> str:
        return f"<Sentiment of {len(self._weights)} features>"

    @classmethod
    def read(cls, path: Path) -> Sentiment:
        """Read what was trained."""
        value = json.loads(path.read_text(encoding="utf-8"))
        return cls(value["weights"], value["bias"])

    def positive(self, text: str) -> float:
        """How likely it is that the text is pleased, 0 to 1."""
        total = sum(self._weights.get(each, 0.0) for each in set(features(text)))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, self._bias + total))))


def features(text: str) -> Iterator[str]:
    """The words of a text and their beginnings, marked where they are denied."""
    denied = 0
    for match in re.finditer(
        r"n't\b|(?:(?!n't)[^\W\d_])+|[.,;:!?]", text.lower().replace("\u2019", "'")
    ):
        word = match[0]
        if not word[0].isalpha() and word != "n't":
            denied = 0
            continue
        if word in DENIALS:
            denied = REACH + 1
        mark = "!" if denied and word not in DENIALS else ""
        yield mark + word
        if len(word) > STEM:
            yield f"{mark}{word[:STEM]}~"
        denied = max(0, denied - 1)
