"""Idempotency keys of what control writes: who sends a POST again gets the first one's answer.

Answers are kept in this entry's memory, the oldest leave first. What failed is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import web

from libs.common.errors import KeyReused

HEADER: Final = "Idempotency-Key"
LONGEST: Final = 256  # characters of a key
T = TypeVar("T")


class _Kept:
    """One answer, under way or there."""

    def __init__(self, digest: bytes, now: float) -> None:
        self.digest = digest
        self.began = now
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()


class Replays:
    """The answers of one entry, by account and key."""

    def __init__(self, *, keep_s: float, most: int) -> None:
        self._keep_s = keep_s
        self._most = most
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Replays {len(self._kept)}>"

    async def once(
        self, request: web.Request, account: str, said: bytes, work: Callable[[], Awaitable[T]]
    ) -> T:
        """Return what `work` does, or did when this key came first; `said` tells bodies apart.

        Raises KeyReused for a key that came with another request.
        """
        key = request.headers.get(HEADER, "")[:LONGEST]
        if not key:
            return await work()
        digest = hashlib.sha256(request.path.encode() + b"\0" + said).digest()
        while (kept := self._find((account, key))) is not None:
            if kept.digest != digest:
                raise KeyReused("this idempotency key came with another request")
            await asyncio.wait([kept.answer])
            if not kept.answer.cancelled():
                return kept.answer.result()  # type: ignore[return-value]
        return await self._first((account, key), digest, work)

    def _find(self, name: tuple[str, str]) -> _Kept | None:
        now = time.monotonic()
        while self._kept:
            oldest, kept = next(iter(self._kept.items()))
            if now - kept.began < self._keep_s and len(self._kept) <= self._most:
                break
            del self._kept[oldest]
        return self._kept.get(name)

    async def _first(
        self, name: tuple[str, str], digest: bytes, work: Callable[[], Awaitable[T]]
    ) -> T:
        kept = self._kept[name] = _Kept(digest, time.monotonic())
        try:
            answer = await work()
        except BaseException:
            kept.answer.cancel()  # who waits does it in its place
            if self._kept.get(name) is kept:
                del self._kept[name]
            raise
        kept.answer.set_result(answer)
        return answer
