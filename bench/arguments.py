"""What the benchmarks' command lines have in common: names that are known, numbers above 0."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return what reads a comma-separated list of known names; `none` is an empty one."""

    def read(text: str) -> list[str]:
        wanted = [each.strip() for each in text.split(",") if each.strip()]
        if wanted == ["none"]:
            return []
        if unknown := [each for each in wanted if each not in known]:
            raise argparse.ArgumentTypeError(
                f"there is no {', '.join(unknown)}; there are: {', '.join(known)}"
            )
        return list(dict.fromkeys(wanted))

    return read


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def positive_int(text: str) -> int:
    """Read a whole number above 0."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)
