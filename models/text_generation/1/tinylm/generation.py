"""Generates the answer to a prompt, token by token, and leaves room for others in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lora import Adapter
from .network import Cache, Network
from .parameters import SamplingParameters
from .sampling import Sampler
from .text import TextStream
from .tokenizer import EOS

PREFILL_POSITIONS = 32  # read at once: a few milliseconds, after which others have a turn


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Piece:
    """What one token adds; the last piece has the reason of the end."""

    text: str
    tokens: int
    finish_reason: str | None = None


class Pace:
    """At most one token per interval; time lost is not caught up in a burst."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<Pace seconds={self._seconds}>"

    async def turn(self) -> None:
        """Wait until the next token is due; always lets others run."""
        now = asyncio.get_running_loop().time()
        self._due = max(now, self._due)
        await asyncio.sleep(self._due - now)
        self._due += self._seconds


async def generate(
    network: Network,
    prompt: list[int],
    parameters: SamplingParameters,
    *,
    adapter: Adapter | None = None,
    token_seconds: float = 0.0,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Piece]:
    """The pieces of the answer; Cancelled if `is_cancelled` says so between two tokens.

    The text is the same whatever else runs: nothing is shared with other requests but weights.
    """
    cache, pace = Cache(network.shape), Pace(token_seconds)
    sampler, text = Sampler(parameters, prompt), TextStream(parameters.stop)
    logits = await _read(network, prompt, cache, adapter, is_cancelled)
    for count in range(1, parameters.max_tokens + 1):
        await pace.turn()
        if is_cancelled():
            raise Cancelled
        token = sampler.choose(logits)
        shown = text.add(token, may_stop=count > parameters.min_tokens)
        reason = "stop" if sampler.is_over else _finish_reason(token, count, text, parameters)
        if reason is not None:
            yield Piece(shown + text.end(), 1, reason)
            return
        yield Piece(shown, 1)
        logits = network.advance([token], cache, adapter)[-1]


async def _read(
    network: Network,
    prompt: list[int],
    cache: Cache,
    adapter: Adapter | None,
    is_cancelled: Callable[[], bool],
) -> NDArray[np.float32]:
    """Read the prompt in parts; the logits after its last token."""
    logits = np.empty((0, network.shape.vocab_size), np.float32)
    for start in range(0, len(prompt), PREFILL_POSITIONS):
        await asyncio.sleep(0)
        if is_cancelled():
            raise Cancelled
        logits = network.advance(prompt[start : start + PREFILL_POSITIONS], cache, adapter)
    last: NDArray[np.float32] = logits[-1]
    return last


def _finish_reason(
    token: int, count: int, text: TextStream, parameters: SamplingParameters
) -> str | None:
    if text.stopped or (token == EOS and not parameters.ignore_eos):
        return "stop"
    return "length" if count == parameters.max_tokens else None
