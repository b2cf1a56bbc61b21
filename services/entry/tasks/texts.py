"""Texts of one stream that came together, kept in one piece: what is done with all is done once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import orjson

# Stands between two texts: JSON escapes it in no text and makes none, so that it is found again.
# A text that has it in itself is kept alone.
BETWEEN: Final = "\x7f"
BETWEEN_BYTES: Final = b"\x7f"
TWO_BETWEEN: Final = b"\x7f\x7f"  # with an empty text between them


class Texts:
    """One text or more, each of one part of the stream; none is empty."""

    __slots__ = ("_joined", "count")

    def __init__(self, joined: str, count: int = 1) -> None:
        self._joined = joined
        self.count = count

    def __repr__(self) -> str:
        return f"<Texts {self.each()!r}>"

    def each(self) -> list[str]:
        """Return the texts, one by one."""
        return [self._joined] if self.count == 1 else self._joined.split(BETWEEN)

    def escaped(self) -> list[bytes]:
        """Return each text as JSON has it between its quotes."""
        escaped = orjson.dumps(self._joined)[1:-1]
        return [escaped] if self.count == 1 else escaped.split(BETWEEN_BYTES)

    def escaped_with(self, between: bytes) -> bytes:
        """Return the same in one piece: `between` stands between two of them."""
        escaped = orjson.dumps(self._joined)[1:-1]
        return escaped if self.count == 1 else escaped.replace(BETWEEN_BYTES, between)


def together(texts: Sequence[bytes]) -> Texts | None:
    """Return texts as they came, if none is empty and each is whole UTF-8; else None."""
    count = len(texts)
    joined = texts[0] if count == 1 else BETWEEN_BYTES.join(texts)
    if not joined or (count > 1 and not _is_apart(joined, count)):
        return None
    try:
        return Texts(joined.decode(), count)
    except UnicodeDecodeError:
        return None


def _is_apart(joined: bytes, count: int) -> bool:
    """Whether texts that were joined are found again, and none of them is empty."""
    return (
        joined.count(BETWEEN_BYTES) < count
        and TWO_BETWEEN not in joined
        and not joined.startswith(BETWEEN_BYTES)
        and not joined.endswith(BETWEEN_BYTES)
    )


def one_by_one(texts: Iterable[str]) -> list[Texts]:
    """Return any texts but the empty."""
    return [Texts(each) for each in texts if each]
