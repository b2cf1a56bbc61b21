"""Bytes as tokens: ids 0 to 255 are the bytes of UTF-8, and three more begin, end and pad."""

from __future__ import annotations

BOS, EOS, PAD = 256, 257, 258
VOCABULARY = 259
_CONTINUATION = range(0x80, 0xC0)


def encode(prompt: str, context: int) -> list[int]:
    """BOS and the prompt's bytes; of a prompt beyond the context the oldest bytes are cut.

    The cut falls between characters, so that the rest is valid UTF-8.
    """
    data = prompt.encode("utf-8", errors="replace")
    room = context - 1
    if len(data) > room:
        start = len(data) - room
        while start < len(data) and data[start] in _CONTINUATION:
            start += 1
        data = data[start:]
    return [BOS, *data]


def decode(tokens: list[int]) -> str:
    """The text of the tokens; ids that are no bytes give no text, broken bytes a mark."""
    return bytes(token for token in tokens if token < 256).decode("utf-8", errors="replace")
