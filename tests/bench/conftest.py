"""What several tests of the benchmarks need."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def kept_signals() -> Iterator[None]:
    """The benchmark ends on SIGTERM in its own way; pytest in pytest's."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
