"""An engine for text generation: how fast it reads prompts and writes tokens.

It works in steps. In each one every request that has been read gets a token, and up to
`chunk_tokens` of a prompt are read beside, as engines with continuous batching and chunked
prefill do (Orca, OSDI 2022; Sarathi-Serve, OSDI 2024). With b requests writing,

    a step takes             step_s + step_per_request_s b
    and with a chunk beside  chunk_tokens / prefill_rate more

so that a full engine writes slower for each, and so does one that reads. The first step reads
the weights for all, which is why it has a part that does not depend on b.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.scheduler.simulate.traces import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What an engine can do, and what is asked of it; about a model of 8 B on one large GPU."""

    prefill_rate: float = 8000.0  # tokens of prompts in a second, with nothing beside
    chunk_tokens: float = 512.0
    step_s: float = 0.015
    step_per_request_s: float = 0.0004
    ttft_s: float = 2.0  # a request is late that waits longer for its first token
    itl_s: float = 0.1  # or whose others take longer, on average
    in_tokens: float = 1000.0  # of a request, where the trace does not say
    out_tokens: float = 200.0
    tokens_cv: float = 1.0

    def step(self, writing: float) -> float:
        """Return how long a step takes."""
        return self.step_s + self.step_per_request_s * writing

    def step_beside(self, writing: float) -> float:
        """Return how long a step takes that reads a chunk, too."""
        return self.step(writing) + self.chunk_tokens / self.prefill_rate

    def reads(self, writing: float) -> float:
        """Return how many tokens of a prompt are read in a second."""
        return self.chunk_tokens / self.step_beside(writing)


def with_services(trace: Trace, engine: Engine, permits: int) -> Trace:
    """Return the trace with the service times of full engines, to size and to plan with.

    Of a second, an engine that ends r requests reads for r in / prefill_rate, and writes
    c tokens per step in the rest: r out = c (1 - r in / prefill_rate) / step(c). So a request
    holds its permit for c / r = out step(c) + c in / prefill_rate.
    """
    in_tokens = np.where(np.isnan(trace.mean_in_tokens), engine.in_tokens, trace.mean_in_tokens)
    out_tokens = np.where(np.isnan(trace.mean_out_tokens), engine.out_tokens, trace.mean_out_tokens)
    reading = permits * in_tokens / engine.prefill_rate
    writing = out_tokens * engine.step(permits)
    return replace(
        trace,
        mean_in_tokens=in_tokens,
        mean_out_tokens=out_tokens,
        mean_service_s=reading + writing,
    )
