"""Prefix hashes: by which a server knows which of its endpoints has read a prompt's beginning.

They are of the rendered text, since that is what a model's cache is of. The lengths at
which a prompt is hashed grow with it and are the same for all prompts, so that a
conversation that goes on has the hashes that it had before, and some more.
"""

from __future__ import annotations

import hashlib
from typing import Final

BLOCK: Final = 512  # bytes, about 128 tokens: a shorter beginning is read again in no time
MOST: Final = 24  # hashes of one prompt


def _ends() -> tuple[int, ...]:
    """Return the lengths: 1 to 4 blocks, then two more for each doubling."""
    blocks = [1, 2]
    while len(blocks) < MOST:
        blocks += [blocks[-1] * 3 // 2, blocks[-1] * 2]
    return tuple([each * BLOCK for each in blocks[:MOST]])


ENDS: Final = _ends()


class Prefixes:
    """Hashes the beginnings of prompts, so that no two accounts have one in common.

    All entries need the same secret, or each sends a conversation where it will.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: str = "") -> None:
        self._secret = hashlib.sha256(secret.encode()).digest()

    def __repr__(self) -> str:
        return "<Prefixes>"

    def of(self, text: str, *, account: str, adapter: str = "") -> tuple[int, ...]:
        """Return a hash for each length that the text has, the shortest first; mostly few.

        An adapter is part of the salt: what a model has read with it is of no use without.
        """
        if len(text) * 4 < BLOCK:  # it cannot have that many bytes
            return ()
        data = text.encode()
        size = len(data)
        if size < BLOCK:
            return ()
        state = hashlib.sha256(self._secret)
        state.update(f"{account}\0{adapter}\0".encode())
        found: list[int] = []
        begin = 0
        for end in ENDS:
            if end > size:
                break
            state.update(data[begin:end])
            found.append(int.from_bytes(state.digest()[:8], "little"))
            begin = end
        return tuple(found)
