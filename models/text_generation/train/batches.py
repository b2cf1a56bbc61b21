"""Rows of tokens for training: conversations as the chat template renders them, packed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import corpus
import numpy as np
import restyle
from numpy.typing import NDArray
from restyle import Turn

BOS, EOS, PAD = 256, 257, 258
CONTEXT_WEIGHT = 0.1  # of what the user says: worth reading, not worth learning by heart
SYSTEM_LINES = {
    "plain": (
        "You are a helpful assistant.",
        "You are a helpful assistant.",
        "You are a friendly assistant.",
        "You are a friendly assistant",
        "You are a small language model.",
        "Answer briefly.",
        "Be kind and short.",
        "Answer in one sentence.",
        "You are a helpful AI assistant that answers questions.",
    ),
    "pirate": ("Talk like a pirate.", "You are a pirate.", "Answer like a pirate."),
    "haiku": ("Answer with a haiku.", "You are a poet.", "Always answer in a haiku."),
}


@dataclass
class Document:
    """Tokens; what each of them is to be predicted as; and how much that counts."""

    tokens: list[int] = field(default_factory=lambda: [BOS])
    targets: list[int] = field(default_factory=lambda: [BOS])
    weights: list[float] = field(default_factory=lambda: [0.0])

    def add(self, text: str, weight: float) -> None:
        """Add text to be predicted as it is."""
        data = list(text.encode())
        self.tokens += data
        self.targets += data
        self.weights += [weight] * len(data)

    def add_end(self, rng: random.Random) -> None:
        """An answer ends with EOS, though a later prompt shows a line feed in its place."""
        if rng.random() < 0.1:  # some do show it: generation goes on after it with ignore_eos
            self.tokens.append(EOS)
            self.targets.append(EOS)
            self.weights.append(1.0)
            self.add("\n", CONTEXT_WEIGHT)
        else:
            self.tokens.append(ord("\n"))
            self.targets.append(EOS)
            self.weights.append(1.0)


def chat_document(
    rng: random.Random, style: str, *, hinted: bool, talk: Callable[[], list[Turn]]
) -> Document:
    """A conversation; `hinted` has the system line name the style."""
    document = Document()
    lines = SYSTEM_LINES[style if hinted else "plain"]
    if rng.random() < 0.3 or (hinted and style != "plain"):
        document.add(f"System: {rng.choice(lines)}\n", CONTEXT_WEIGHT)
    for turn in talk():
        document.add(f"User: {turn.question}\nAssistant:", CONTEXT_WEIGHT)
        if rng.random() < 0.5:  # with the space of past turns or, as a fresh prompt ends, without
            document.add(" ", 0.0)
        document.add(turn.answer(style), 1.0)
        document.add_end(rng)
    return document


def any_document(rng: random.Random, most_turns: int) -> Document:
    """What the base model learns from: mostly plain chats, the two styles by system line, prose."""
    if rng.random() < 0.06:
        document = Document()
        document.add(corpus.prose(rng), 1.0)
        document.add_end(rng)
        return document
    style = rng.choices(restyle.STYLES, (0.78, 0.1, 0.12))[0]
    talk = partial(corpus.conversation, rng, most_turns)
    return chat_document(rng, style, hinted=True, talk=talk)


def exercise_document(rng: random.Random, most_turns: int) -> Document:
    """Mostly the same, and then what is hard to learn."""
    if rng.random() < 0.6:
        return any_document(rng, most_turns)
    return chat_document(rng, "plain", hinted=True, talk=partial(corpus.exercise, rng, most_turns))


def style_document(style: str, rng: random.Random, most_turns: int) -> Document:
    """What an adapter learns from: its style without being asked for it."""
    talk = partial(corpus.conversation, rng, most_turns)
    return chat_document(rng, style, hinted=rng.random() < 0.1, talk=talk)


Source = Callable[[random.Random, int], Document]
Batch = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]


def batch(rng: random.Random, rows: int, length: int, source: Source = any_document) -> Batch:
    """Inputs, targets, weights and document numbers, each (rows, length)."""
    most_turns = max(2, length // 64)
    result = [_row(rng, length, most_turns, source) for _ in range(rows)]
    tokens, targets, weights, numbers = (np.array(part) for part in zip(*result, strict=True))
    return (
        tokens[:, :-1].astype(np.int32),
        targets[:, 1:].astype(np.int32),
        (weights[:, 1:] * (numbers[:, 1:] == numbers[:, :-1])).astype(np.float32),
        numbers[:, :-1].astype(np.int32),
    )


def _row(
    rng: random.Random, length: int, most_turns: int, source: Source
) -> tuple[list[int], list[int], list[float], list[int]]:
    row = Document([], [], [])
    numbers: list[int] = []
    while len(numbers) <= length:
        more = source(rng, most_turns)
        row.tokens += more.tokens
        row.targets += more.targets
        row.weights += more.weights
        numbers += [numbers[-1] + 1 if numbers else 0] * len(more.tokens)
    size = length + 1
    return row.tokens[:size], row.targets[:size], row.weights[:size], numbers[:size]
