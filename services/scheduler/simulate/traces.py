"""Traces: how many requests arrived in each bin of time, read from CSV or gzip CSV."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.errors import BadTrace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Row = tuple[float, ...]

NEEDED = ("t", "requests")
OPTIONAL = ("mean_service_s", "mean_in_tokens", "mean_out_tokens")
ENDINGS = (".csv", ".csv.gz")
MOST_SECONDS = 400 * 86_400
MOST_REQUESTS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests per bin; the means are those of a bin's requests, NaN where not known."""

    name: str
    bin_s: int
    requests: Ints
    mean_service_s: Floats
    mean_in_tokens: Floats
    mean_out_tokens: Floats

    @property
    def seconds(self) -> int:
        """How long it is."""
        return len(self.requests) * self.bin_s


def read_folder(folder: Path) -> list[Path]:
    """Return the traces of a folder, by name; BadTrace if there is none."""
    found = sorted(each for each in folder.iterdir() if each.name.endswith(ENDINGS))
    if not found:
        raise BadTrace(f"{folder}: no trace there: expected files *.csv or *.csv.gz")
    return found


def read(path: Path) -> Trace:
    """Read a trace; bins that it leaves out have no requests."""
    with _text(path) as lines:
        reader = csv.DictReader(lines)
        _check_columns(path, reader.fieldnames or ())
        rows = [_row(path, number, each) for number, each in enumerate(reader, start=2)]
    times = np.array([row[0] for row in rows])
    if len(times) < 2:
        raise BadTrace(f"{path}: expected at least two bins, got {len(times)}")
    bin_s, places = _places(path, times)
    columns = np.full((1 + len(OPTIONAL), int(places[-1]) + 1), np.nan)
    columns[:, places] = np.array([row[1:] for row in rows]).T
    requests = np.nan_to_num(columns[0], nan=0.0).astype(np.int64)
    if not 0 < requests.sum() <= MOST_REQUESTS:
        raise BadTrace(f"{path}: expected 1 to {MOST_REQUESTS} requests, got {requests.sum()}")
    means = dict(zip(OPTIONAL, columns[1:], strict=True))
    return Trace(name=_name(path), bin_s=bin_s, requests=requests, **means)


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """Open a file that may be packed; what is no text is told as such."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as lines:
            yield lines
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
        raise BadTrace(f"{path}: cannot be read as CSV: {error}") from error


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if missing := [name for name in NEEDED if name not in names]:
        raise BadTrace(
            f"{path}:1: no column {', '.join(missing)}: expected a header with t,requests"
        )


def _row(path: Path, line: int, cells: Mapping[str, str | None]) -> Row:
    """Return t, requests and the optional columns."""
    where = f"{path}:{line}"
    t, requests = (_number(where, name, cells.get(name)) for name in NEEDED)
    if requests != math.floor(requests):
        raise BadTrace(f"{where}: requests: expected a whole number, got {requests:g}")
    means = (_number(where, name, cells.get(name) or "nan") for name in OPTIONAL)
    return (t, requests, *means)


def _number(where: str, name: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = -1.0
    if number < 0 or math.isinf(number) or (math.isnan(number) and name in NEEDED):
        raise BadTrace(f"{where}: {name}: expected a number from 0, got {text!r}")
    return number


def _places(path: Path, times: Floats) -> tuple[int, Ints]:
    """Return the width of a bin, and which bin each row is."""
    steps = np.diff(times)
    if wrong := np.flatnonzero(steps <= 0)[:1].tolist():
        raise BadTrace(f"{path}:{wrong[0] + 3}: t: expected more than in the line before")
    width = float(steps.min())
    if width != int(width):
        raise BadTrace(f"{path}: t: expected bins of whole seconds, got {width:g} s")
    offsets = (times - times[0]) / width
    places = offsets.astype(np.int64)
    if wrong := np.flatnonzero(places != offsets)[:1].tolist():
        raise BadTrace(
            f"{path}:{wrong[0] + 2}: t: expected a multiple of {width:g} s after the first"
        )
    if (seconds := (int(places[-1]) + 1) * int(width)) > MOST_SECONDS:
        raise BadTrace(f"{path}: expected at most {MOST_SECONDS} s, got {seconds}")
    return int(width), places
