"""Request ids: 26 characters, sortable by time, with the shard in them.

10 characters of milliseconds, 13 of randomness, 3 of the shard's number, in
Crockford's base 32 (as ULIDs are written).
"""

from __future__ import annotations

import random
from functools import lru_cache

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
# A letter for every byte, each of the 32 for eight of them, so that bytes become letters at once.
_LETTERS = (_ALPHABET * 8).encode()
LENGTH = 26


def new_request_id(*, now_ms: int, shard: int, rng: random.Random) -> str:
    """Return a fresh id for a request to `shard` (0 to 32,767)."""
    noise = rng.getrandbits(8 * 13).to_bytes(13, "little").translate(_LETTERS).decode()
    return _second(now_ms >> 10) + _PAIRS[now_ms & 1023] + noise + _shard(shard)


def shard_of(request_id: str) -> int:
    """Return the shard that an id names; ValueError for what is no id of ours."""
    if len(request_id) != LENGTH or not set(request_id) <= _VALUES.keys():
        raise ValueError(f"not a request id: {request_id[:40]!r}")
    shard = 0
    for letter in request_id[-3:]:
        shard = shard << 5 | _VALUES[letter]
    return shard


@lru_cache(maxsize=8)  # of 1,024 ms each, and mostly asked for the newest
def _second(number: int) -> str:
    return _write(number, 8)


@lru_cache(maxsize=1024)
def _shard(number: int) -> str:
    return _write(number, 3)


def _write(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(digits)))
