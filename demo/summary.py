"""Summaries made of a text's own sentences: those that say most of what the text repeats."""

from __future__ import annotations

import math
import re
from collections import Counter

SENTENCE = re.compile(r".+?(?:[.!?][\"')\]]*(?:\s+|$)|$)", re.DOTALL)
ABBREVIATION = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|St|vs|e\.g|i\.e|etc))\.\s*$")
SHARE = 1 / 3  # of the sentences
FIRST = 1.3  # what the first sentence counts, which often tells what it is about
SHORT = 4  # words of a letter or so that say little
COMMON = frozenset(
    re.findall(
        r"\w+",
        "about above after again against along also among another around because been before "
        "being below between both cannot could does doing down during each even every from "
        "further have having here hers herself himself into itself just like made many more "
        "most much must myself never once only other ours ourselves over said same says shall "
        "should since some still such than that their theirs them themselves then there these "
        "they this those through under until upon very were what when where which while whom "
        "whose will with within without would your yours yourself ",
    )
)


def summarize(text: str, *, most_words: int) -> str:
    """The best sentences in their order, of at most so many words."""
    found = sentences(text)
    weights = Counter(word for sentence in found for word in content(sentence))
    order = sorted(range(len(found)), key=lambda at: -_score(found[at], weights, at))
    kept: list[int] = []
    left = most_words
    for at in order[: max(1, math.ceil(SHARE * len(found)))]:
        length = len(found[at].split())
        if length <= left:
            kept.append(at)
            left -= length
    if not kept and order:  # even the best is too long: as much of it as may be
        return " ".join(found[order[0]].split()[:most_words])
    return " ".join(found[at] for at in sorted(kept))


def sentences(text: str) -> list[str]:
    """The sentences of a text, each on one line."""
    parts: list[list[str]] = []
    for paragraph in re.split(r"\n\s*\n", text):
        is_open = False
        for piece in SENTENCE.findall(paragraph) or [paragraph]:
            if is_open:
                parts[-1].append(piece)
            elif piece.strip():
                parts.append([piece])
            is_open = bool(parts) and bool(ABBREVIATION.search(piece))
    return [" ".join("".join(part).split()) for part in parts]


def content(sentence: str) -> list[str]:
    """The words that say something, without their endings."""
    words = re.findall(r"[^\W\d_]+", sentence.lower())
    return [_stem(word) for word in words if len(word) >= SHORT and word not in COMMON]


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= SHORT:
            return word[: -len(ending)]
    return word


def _score(sentence: str, weights: Counter[str], at: int) -> float:
    """How much of the text's own words it has, each once, not counting length alone."""
    words = set(content(sentence))
    if not words:
        return 0.0
    score = sum(weights[word] - 1 for word in words) / math.sqrt(len(words))
    return score * FIRST + 0.1 if at == 0 else score
