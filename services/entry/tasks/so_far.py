"""What a stream of text has said so far, so that another instance can go on from it if it breaks.

Kept for every stream, so it does little for each part; what a break needs is worked out then.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Final

from libs.common.envelope import Usage
from libs.common.values import Value

ASCII: Final = 0x80  # bytes below it are characters
LEADS: Final = (
    (0xF0, 4),
    (0xE0, 3),
    (0xC0, 2),
)  # the first byte of a character says how many there are


class Told(Value):
    """What a part says beside its text."""

    __slots__ = ("cached", "calls", "is_total", "reason", "tokens_in", "tokens_out")

    def __init__(
        self,
        reason: str = "",
        *,
        tokens_in: int = 0,
        tokens_out: int = 1,
        is_total: bool = False,
        calls: Sequence[Any] = (),
        cached: int | None = None,
    ) -> None:
        self.reason = reason  # why the text ended; empty while it has not
        self.tokens_in = tokens_in  # 0 where it does not say
        self.tokens_out = tokens_out  # of this part
        self.is_total = is_total  # or of all parts so far
        self.calls = calls  # of tools, as OpenAI's API has them: whole, or pieces of a stream's
        self.cached = cached  # tokens of the input that had been read before; None: not told


class SoFar:
    """The text of one stream, over all its attempts, and the tokens that it took."""

    __slots__ = (
        "_earlier",
        "_most",
        "_text",
        "_tokens",
        "cached",
        "has_broken",
        "is_kept",
        "parts",
        "reason",
        "tokens",
        "tokens_in",
    )

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._text = bytearray()
        self._earlier = 0  # tokens of attempts that broke
        self._tokens = 0  # of this one, with those whose text has not come yet
        self.tokens = 0  # whose text has come, in whole characters, over all attempts
        self.tokens_in = 0  # as the attempt told them that went on from nothing
        self.parts = 0
        self.reason = ""
        self.cached: int | None = None  # of the input's tokens; None: not told
        self.has_broken = False
        self.is_kept = True  # all of the text is here

    def __repr__(self) -> str:
        return f"<SoFar parts={self.parts} tokens={self.tokens} bytes={len(self._text)}>"

    def see(self, read: Sequence[tuple[list[bytes], Told]]) -> None:
        """Take in parts that came together."""
        text = self._text
        for raws, told in read:
            count = len(raws)
            self.parts += count
            last = raws[-1]
            if last and last[-1] < ASCII:  # as mostly: all of their text has come
                text += b"".join(raws)
                before = 0 if told.is_total else self._tokens
                self._tokens = before + told.tokens_out * (1 if told.is_total else count)
                self.tokens = self._earlier + self._tokens
            else:
                self._see_each(raws, told)
            if told.reason:
                self.reason = told.reason
        if not self._earlier:
            self.tokens_in = read[-1][1].tokens_in or self.tokens_in
            if read[-1][1].cached is not None:
                self.cached = read[-1][1].cached
        if len(text) > self._most:
            self.is_kept = False
        if not self.is_kept:
            text.clear()

    def _see_each(self, raws: Sequence[bytes], told: Told) -> None:
        """Find the last of these parts with which the text ended in a whole character."""
        for raw in raws:
            self._tokens = told.tokens_out + (0 if told.is_total else self._tokens)
            self._text += raw
            if raw and ends_whole(self._text):
                self.tokens = self._earlier + self._tokens

    def cut(self) -> str:
        """Return the text when a stream broke, and be ready for the parts of the next attempt.

        A character that was cut in two is left out, and its tokens: they are made again.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(bytes(self._text))
        if rest := decoder.getstate()[0]:
            del self._text[-len(rest) :]
        self._earlier = self.tokens
        self._tokens = 0
        self.has_broken = True
        return text

    def used(self) -> Usage:
        """Return what the last attempt has told of its usage."""
        return Usage(tokens_in=self.tokens_in, tokens_out=self._tokens)

    def added_up(self, last: Usage) -> Usage:
        """Return the usage of all attempts, whose input counts once; `last` is the last one's."""
        if not self.has_broken:
            return last
        tokens_in = self.tokens_in or last.tokens_in
        return Usage(tokens_in=tokens_in, tokens_out=self._earlier + last.tokens_out)


def ends_whole(text: bytearray) -> bool:
    """Whether UTF-8 does not end in mid character."""
    for back in range(1, min(4, len(text)) + 1):
        for least, size in LEADS:
            if text[-back] >= least:
                return back >= size
        if text[-back] < ASCII:
            return True
    return True
