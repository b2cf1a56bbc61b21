"""A progress bar, where somebody looks."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

WIDTH = 30
EVERY_S = 0.1


class Progress:
    """Draws over one line of a terminal, and cleans up after itself; elsewhere it is silent."""

    def __init__(self, stream: TextIO) -> None:
        """Draw there."""
        self._stream = stream
        self._drawn_at = 0.0
        self._began = time.monotonic()
        self._is_seen = stream.isatty()

    def __repr__(self) -> str:
        """Tell whether anybody looks."""
        return f"<Progress seen={self._is_seen}>"

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave an empty line."""
        self._write("\r\x1b[K")

    def tell(self, what: str, share: float) -> None:
        """Show how much is done, and how long the rest may take."""
        now = time.monotonic()
        if not self._is_seen or (now - self._drawn_at < EVERY_S and share < 1):
            return
        self._drawn_at = now
        done = round(WIDTH * share)
        left = (now - self._began) * (1 - share) / share if share > 0 else 0.0
        bar = "#" * done + "-" * (WIDTH - done)
        self._write(f"\r\x1b[K{what} [{bar}] {share:4.0%}, {_clock(left)} left")

    def _write(self, text: str) -> None:
        if self._is_seen:
            self._stream.write(text)
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
