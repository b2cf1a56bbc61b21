"""Request ids: 26 characters, sortable by time, with the shard in them.

10 characters of milliseconds, 13 of randomness, 3 of the shard's number, in
Crockford's base 32 (as ULIDs are written).
"""

from __future__ import annotations

import random
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
# A letter for every byte, each of the 32 for eight of them, so that bytes become letters at once.
_LETTERS: Final = (_ALPHABET * 8).encode()
LENGTH: Final = 26
NOISE: Final = 13  # letters
AT_ONCE: Final = 64  # ids


class RequestIds:
    """Makes ids; what is random in them is drawn for many at once."""

    __slots__ = ("_drawn", "_rng", "_second", "_shards", "_since")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn: list[str] = []
        self._since = -1  # the last `now_ms >> 10`, and how that is written
        self._second = ""
        self._shards: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"<RequestIds drawn={len(self._drawn)}>"

    def new(self, *, now_ms: int, shard: int) -> str:
        """Return a fresh id for a request to `shard` (0 to 32,767)."""
        since = now_ms >> 10
        if since != self._since:
            self._since, self._second = since, _write(since, 8)
        if not self._drawn:
            self._draw()
        place = self._shards.get(shard) or self._written(shard)
        return self._second + _PAIRS[now_ms & 1023] + self._drawn.pop() + place

    def _draw(self) -> None:
        noise = self._rng.randbytes(AT_ONCE * NOISE).translate(_LETTERS).decode()
        self._drawn = [noise[at : at + NOISE] for at in range(0, len(noise), NOISE)]

    def _written(self, shard: int) -> str:
        self._shards[shard] = place = _write(shard, 3)
        return place


def shard_of(request_id: str) -> int:
    """Return the shard that an id names; ValueError for what is no id of ours."""
    if len(request_id) != LENGTH or not set(request_id) <= _VALUES.keys():
        raise ValueError(f"not a request id: {request_id[:40]!r}")
    shard = 0
    for letter in request_id[-3:]:
        shard = shard << 5 | _VALUES[letter]
    return shard


def _write(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(digits)))
