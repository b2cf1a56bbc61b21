"""Tokens: only their hashes are kept."""

from __future__ import annotations

import hashlib


def token_hash(token: str) -> str:
    """Return the hash of a token, even of one that came as bytes that are no UTF-8."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
