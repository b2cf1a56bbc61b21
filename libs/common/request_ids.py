"""Request ids: 26 characters, sortable by time, with the shard in them.

10 characters of milliseconds, 13 of randomness, 3 of the shard's number, in
Crockford's base 32 (as ULIDs are written).
"""

from __future__ import annotations

import random

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
LENGTH = 26


def new_request_id(*, now_ms: int, shard: int, rng: random.Random) -> str:
    """Return a fresh id for a request to `shard` (0 to 32,767)."""
    return _write(now_ms, 10) + _write(rng.getrandbits(65), 13) + _write(shard, 3)


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
