"""What `constellation simulate` takes; light, since every command loads it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MOST_JOBS = 64
MOST_SECONDS = 86_400
MOST_INSTANCES = 100_000
MOST_PERMITS = 10_000
MOST_FAILURES = 0.9
MOST_TOKENS = 1_000_000


class EngineFlag(NamedTuple):
    """A field of an engine that may be given."""

    name: str
    field: str
    unit: str
    least: float
    most: float
    about: str


ENGINE_FLAGS = (
    EngineFlag("--prefill-rate", "prefill_rate", "TOKENS", 1, MOST_TOKENS, "read in a second"),
    EngineFlag("--chunk-tokens", "chunk_tokens", "TOKENS", 1, MOST_TOKENS, "read in a step"),
    EngineFlag("--step", "step_s", "S", 0.0001, 60, "that a step takes while nobody writes"),
    EngineFlag("--step-per-request", "step_per_request_s", "S", 0, 60, "more for each who writes"),
    EngineFlag("--ttft", "ttft_s", "S", 0.001, 3600, "late is a first token that takes longer"),
    EngineFlag("--itl", "itl_s", "S", 0.0001, 3600, "or the others, on average, between two"),
    EngineFlag("--in-tokens", "in_tokens", "TOKENS", 1, MOST_TOKENS, "unless the trace says"),
    EngineFlag("--out-tokens", "out_tokens", "TOKENS", 1, MOST_TOKENS, "unless the trace says"),
    EngineFlag("--tokens-cv", "tokens_cv", "CV", 0, 10, "of both"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    of_files = parser.add_argument_group("what is simulated")
    of_files.add_argument("--trace", type=Path, action="append", default=[], metavar="FILE")
    of_files.add_argument("--policy", default="all", help="a name, several with commas, or all")
    of_files.add_argument("--choose", type=Path, metavar="DIR", help="traces to choose settings on")
    of_files.add_argument("--apply", type=Path, metavar="DIR", help="traces to show them on")
    model = parser.add_argument_group("the servers")
    model.add_argument("--permits", type=whole(1, MOST_PERMITS), default=8, help="per instance")
    model.add_argument("--service-mean", type=number(0.001, MOST_SECONDS), default=4.0, metavar="S")
    model.add_argument("--service-cv", type=number(0, 10), default=1.0, metavar="CV")
    model.add_argument("--boot", type=whole(0, MOST_SECONDS), default=120, metavar="S")
    about = "coefficient of variation of boots"
    model.add_argument("--boot-cv", type=number(0, 10), default=0.0, metavar="CV", help=about)
    about = "share of boots that fail, and are tried again"
    model.add_argument(
        "--boot-failures", type=number(0, MOST_FAILURES), default=0.0, metavar="SHARE", help=about
    )
    model.add_argument("--min", type=whole(0, MOST_INSTANCES), default=1, metavar="N")
    about = "auto: 1.25 times what the trace's true peak needs"
    model.add_argument("--max", type=_maximum, default=None, metavar="N", help=about)
    about = "then a request leaves"
    model.add_argument(
        "--max-wait", type=whole(1, MOST_SECONDS), default=60, metavar="S", help=about
    )
    about = "share that may wait 1 s"
    model.add_argument("--slo", type=number(0.00001, 1), default=0.003, help=about)
    about = "not counted, at most half of a trace"
    model.add_argument("--warmup-days", type=number(0, 365), default=7.0, metavar="D", help=about)
    model.add_argument("--seed", type=whole(0, 2**32), default=1, metavar="N")
    about = "places, one for an instance each, that all traces share"
    model.add_argument(
        "--nodes", type=whole(1, MOST_INSTANCES), default=None, metavar="N", help=about
    )
    _add_engine(parser)
    output = parser.add_argument_group("how, and what is written")
    output.add_argument("--json", type=Path, metavar="FILE")
    output.add_argument("--png", type=Path, metavar="FILE")
    output.add_argument("--no-timing", action="store_true", help="leave measured times out")
    output.add_argument(
        "--jobs", type=whole(1, MOST_JOBS), default=1, metavar="N", help="processes"
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_argument_group("engines that generate text, in place of service times")
    engine.add_argument("--engine", action="store_true", help="tokens come from the trace")
    for flag in ENGINE_FLAGS:
        reads = number(flag.least, flag.most)
        engine.add_argument(
            flag.name, dest=flag.field, type=reads, metavar=flag.unit, help=flag.about
        )


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number within these bounds."""

    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"expected a whole number, {least} to {most}, got {text!r}"
        )

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number within these bounds."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {least:g} to {most:g}, got {text!r}")
        return value

    return read


def _maximum(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return whole(1, MOST_INSTANCES)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor auto") from error
