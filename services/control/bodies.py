"""Bytes that come in chunks, taken in pieces of the length that the reader wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator


class Body:
    """Chunks, and what of them has not been taken yet."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    async def take(self, count: int) -> bytes:
        """Return so many bytes, or fewer at the end."""
        taken = bytearray(self._left)
        while len(taken) < count and (chunk := await anext(self._chunks, None)) is not None:
            taken += chunk
        self._left = bytes(taken[count:])
        return bytes(taken[:count])

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """Yield what has not been taken."""
        if self._left:
            yield self._left
            self._left = b""
        async for chunk in self._chunks:
            yield chunk
