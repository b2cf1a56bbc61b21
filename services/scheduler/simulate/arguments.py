"""What `constellation simulate` takes; light, since every command loads it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

MOST_JOBS = 64
MOST_SECONDS = 86_400
MOST_INSTANCES = 100_000
MOST_PERMITS = 10_000


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
    output = parser.add_argument_group("how, and what is written")
    output.add_argument("--json", type=Path, metavar="FILE")
    output.add_argument("--png", type=Path, metavar="FILE")
    output.add_argument("--no-timing", action="store_true", help="leave measured times out")
    output.add_argument(
        "--jobs", type=whole(1, MOST_JOBS), default=1, metavar="N", help="processes"
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
