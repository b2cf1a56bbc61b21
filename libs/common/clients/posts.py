"""Hands JSON to an HTTP address of others: in order, with retries, and nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from libs.common.backoff import Backoff
from libs.common.lifecycle import background

TIMEOUT_S: Final = 10.0
TRIES: Final = 6
BOUND: Final = 1024  # that wait; beyond it the oldest are dropped
AGAIN: Final = (408, 425, 429)  # besides 5xx
log = logging.getLogger(__name__)


class Posts:
    """One address, and what waits for it."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        tries: int = TRIES,
        bound: int = BOUND,
        timeout_s: float = TIMEOUT_S,
        backoff: Iterable[float] = Backoff(first_s=0.5, most_s=30.0),
    ) -> None:
        """`token` is sent as a Bearer token, if there is one."""
        self._url = url
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._tries = tries
        self._bound = bound
        self._timeout = ClientTimeout(total=timeout_s)
        self._backoff = backoff
        self._waiting: deque[bytes] = deque()
        self._came = asyncio.Event()
        self._rests = asyncio.Event()  # nothing waits, and nothing is being sent
        self._rests.set()
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Posts {self._url} waiting={len(self._waiting)} dropped={self.dropped}>"

    def post(self, body: Any) -> None:
        """Have it sent; what waits beyond the bound is dropped, the oldest first."""
        self._rests.clear()
        self._waiting.append(orjson.dumps(body))
        if len(self._waiting) > self._bound:
            self._waiting.popleft()
            self._drop("too many wait")
        self._came.set()

    async def run(self) -> None:
        """Send what comes, one after the other, until cancelled; what is left then is dropped."""
        try:
            async with ClientSession(timeout=self._timeout) as session:
                while True:
                    await self._came.wait()
                    self._came.clear()
                    while self._waiting:
                        await self._send(session, self._waiting.popleft())
                    self._rests.set()
        finally:
            for _ in self._waiting:
                self._drop("the end came first")
            self._waiting.clear()

    async def sent(self) -> None:
        """Return when nothing waits any more."""
        await self._rests.wait()

    async def _send(self, session: ClientSession, body: bytes) -> None:
        waits, why = iter(self._backoff), "the end came first"
        try:
            for tried in range(1, self._tries + 1):
                why, again = await self._try(session, body)
                if not why or not again or tried == self._tries:
                    break
                await asyncio.sleep(next(waits))
        finally:
            if why:
                self._drop(why)

    async def _try(self, session: ClientSession, body: bytes) -> tuple[str, bool]:
        """Return why it was not taken, or nothing; and whether another try may help."""
        try:
            async with session.post(self._url, data=body, headers=self._headers) as answer:
                if answer.status < 300:
                    return "", False
                return f"HTTP {answer.status}", answer.status >= 500 or answer.status in AGAIN
        except (ClientError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__, True

    def _drop(self, why: str) -> None:
        self.dropped += 1
        log.warning("a report to %s is dropped: %s", self._url, why)


@asynccontextmanager
async def sending(posts: Collection[Posts], *, stop_s: float) -> AsyncIterator[None]:
    """Have all of them send while inside; on leaving they have so long for what waits."""
    async with AsyncExitStack() as stack:
        for each in posts:
            await stack.enter_async_context(background(each.run(), name=repr(each)))
        try:
            yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(stop_s):
                    for each in posts:
                        await each.sent()
