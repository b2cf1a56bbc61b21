"""Chooses the next token from the logits; every request has a sampler of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .grammar import NEVER, Position
from .parameters import SamplingParameters
from .tokenizer import BOS, EOS, PAD, VOCABULARY

_GREEDY = 1e-5  # vLLM's bound: a temperature below it chooses the best token


class Sampler:
    """The state of one request's choices: its random numbers and what was there before."""

    def __init__(self, parameters: SamplingParameters, prompt: Sequence[int]) -> None:
        self._parameters = parameters
        self._random = np.random.default_rng()
        self._position = len(prompt)
        self._seen = np.zeros(VOCABULARY, dtype=bool)
        self._seen[list(prompt)] = True
        self._counts = np.zeros(VOCABULARY, dtype=np.float32)
        self._chosen = 0
        guide = parameters.guided_decoding
        self._guide = None if guide is None else Position(guide)

    def __repr__(self) -> str:
        return f"<Sampler chosen={self._chosen}/{self._parameters.max_tokens}>"

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow in what the text is guided to be."""
        return self._guide is not None and not self._guide.allowed(NEVER)

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The next token; logits are left as they are."""
        values = self._penalised(logits)
        values[[BOS, PAD]] = -np.inf
        if self._guide is not None:
            self._guided(values, self._guide)
        elif self._chosen < self._parameters.min_tokens:
            values[EOS] = -np.inf
        token = self._pick(values)
        if self._guide is not None and token != EOS:
            self._guide.take(token)
        self._position += 1
        self._chosen += 1
        self._seen[token] = True
        self._counts[token] += 1
        return token

    def _guided(self, values: NDArray[np.float64], guide: Position) -> None:
        """Leave only what the text may go on with, and still end in time."""
        left = self._parameters.max_tokens - self._chosen - 1  # the end is a token, too
        allowed = [*guide.allowed(left)] + ([EOS] if guide.may_end else [])
        refused = np.ones(VOCABULARY, dtype=bool)
        refused[allowed] = False
        values[refused] = -np.inf

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        wanted = self._parameters
        values = logits.astype(np.float64)
        if wanted.repetition_penalty != 1:
            harsh = np.where(
                values > 0, values / wanted.repetition_penalty, values * wanted.repetition_penalty
            )
            values = np.where(self._seen, harsh, values)
        values -= wanted.frequency_penalty * self._counts
        values -= wanted.presence_penalty * (self._counts > 0)
        return values

    def _pick(self, values: NDArray[np.float64]) -> int:
        wanted = self._parameters
        if wanted.temperature < _GREEDY:
            return int(np.argmax(values))
        order = np.argsort(-values, kind="stable")
        if wanted.top_k > 0:
            order = order[: wanted.top_k]
        ranked = values[order]
        weights = np.exp((ranked - ranked[0]) / wanted.temperature)
        sums = np.cumsum(weights)
        # The nucleus: the fewest best tokens that hold top_p of the probability.
        size = int(np.searchsorted(sums, wanted.top_p * sums[-1])) + 1
        sums = sums[: min(size, len(sums))]
        return int(order[np.searchsorted(sums, self._drawn() * sums[-1], side="right")])

    def _drawn(self) -> float:
        """A number from 0 to 1; with a seed, position and seed alone decide it.

        So a text that is given back with its prompt goes on as it would have without a break.
        """
        seed = self._parameters.seed
        if seed is None:
            return self._random.random()
        return float(np.random.default_rng((seed % 2**64, self._position)).random())
