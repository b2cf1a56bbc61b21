"""From tokens to text that may be shown: whole characters, and nothing of a stop text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Takes tokens, gives out text; holds back what may still become something else."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def __repr__(self) -> str:
        return f"<TextStream held={len(self._held)} stopped={self.stopped}>"

    def add(self, token: int, *, may_stop: bool = True) -> str:
        """The text that is certain after this token; with `may_stop` off no stop is looked for."""
        if token > 255:
            return ""
        fresh = self._decoder.decode(bytes([token]))
        if not may_stop:
            return fresh
        return self._release(self._held + fresh)

    def end(self) -> str:
        """The rest; an incomplete character becomes the replacement mark."""
        text = "" if self.stopped else self._release(self._held + self._decoder.decode(b"", True))
        rest, self._held = ("" if self.stopped else self._held), ""
        return text + rest

    def _release(self, text: str) -> str:
        found = [index for stop in self._stops if (index := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text begin the stop."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
