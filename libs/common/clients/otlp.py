"""Hands spans to a collector over OTLP/HTTP: in batches, within bounds, in nobody's way.

Spans are only kept while a request runs, and written in small portions between other work, so
that no request waits for its neighbours' spans. What does not fit, or is not taken, is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from libs.common.backoff import Backoff
from libs.common.metrics import Counts
from libs.common.otlp import ExportRequest, rejected_in
from libs.common.spans import Attribute, Span

BATCH: Final = 512  # spans of one export request
EVERY_S: Final = 1.0  # between two requests while there are few
PORTION: Final = 32  # spans written at once: about half a millisecond
TRIES: Final = 6
LEAVE_S: Final = 3.0  # for what is left, on leaving
MOST_ANSWER: Final = 64 * 1024
AGAIN: Final = (429, 502, 503, 504)  # as the protocol has it
log = logging.getLogger(__name__)


class OtlpExporter:
    """Implements `libs.common.spans.Spans` for one collector; works while it is entered."""

    def __init__(
        self,
        url: str,
        *,
        resource: Mapping[str, Attribute],
        version: str,
        counts: Counts,
        headers: Mapping[str, str] | None = None,
        bound: int = 8192,
        timeout_s: float = 10.0,
        every_s: float = EVERY_S,
        leave_s: float = LEAVE_S,
        backoff: Iterable[float] = Backoff(first_s=0.5, most_s=10.0),
    ) -> None:
        """`counts` gets what becomes of spans, by service; at most `bound` of them wait."""
        self._counts = counts
        self._service = str(resource["service.name"])
        self._url = url
        self._resource = resource
        self._version = version
        self._headers = {"Content-Type": "application/x-protobuf", **(headers or {})}
        self._bound = bound
        self._timeout_s = timeout_s
        self._every_s = every_s
        self._leave_s = leave_s
        self._backoff = backoff
        self._waiting: deque[Span] = deque()
        self._on_its_way = 0  # spans of the request that is being sent
        self._enough = asyncio.Event()  # for a request, or to leave
        self._leaving = asyncio.Event()
        self._is_away = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<OtlpExporter {self._url} waiting={len(self._waiting)}>"

    def emit(self, span: Span) -> None:
        """Have it sent to the collector; never waits, never raises."""
        waiting = self._waiting
        if len(waiting) >= self._bound:
            self._counts[self._service, "dropped"] += 1
            return
        waiting.append(span)
        if len(waiting) == BATCH:
            self._enough.set()

    async def __aenter__(self) -> OtlpExporter:
        self._task = asyncio.create_task(self._run(), name=f"spans to {self._url}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what is left, within a bound; the rest is dropped."""
        assert self._task is not None
        self._leaving.set()
        self._enough.set()
        await asyncio.wait([self._task], timeout=self._leave_s)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._count("dropped", len(self._waiting) + self._on_its_way)
        self._waiting.clear()
        self._on_its_way = 0

    async def _run(self) -> None:
        timeout = ClientTimeout(total=self._timeout_s)
        async with ClientSession(timeout=timeout) as session:
            while self._waiting or not self._leaving.is_set():
                if len(self._waiting) < BATCH and not self._leaving.is_set():
                    self._enough.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._every_s):
                            await self._enough.wait()
                if self._waiting:
                    try:
                        await self._export(session)
                    except Exception:  # the next ones may be sent all the same
                        log.exception("%d spans are lost: this is a bug", self._on_its_way)
                        self._count("dropped", self._on_its_way)
                        self._on_its_way = 0

    async def _export(self, session: ClientSession) -> None:
        """Send one request, again where that may help."""
        count = self._on_its_way = min(BATCH, len(self._waiting))
        body = await self._written(count)
        waits, tries = iter(self._backoff), 1
        while True:
            why, again = await self._try(session, body, count)
            if not why or not again or tries == TRIES or self._leaving.is_set():
                break
            if not self._is_away:
                self._is_away = True
                log.warning("spans wait for the collector %s: %s", self._url, why)
            tries += 1
            await self._pause(next(waits))
        self._on_its_way = 0
        if why:
            self._count("dropped", count)
            log.warning("%d spans are dropped: %s: %s", count, self._url, why)
        elif self._is_away:
            self._is_away = False
            log.info("the collector %s is back", self._url)

    async def _written(self, count: int) -> bytes:
        """Write the oldest spans as a request, giving way to others in between."""
        request = ExportRequest(self._resource, self._version)
        for at in range(0, count, PORTION):
            portion = min(PORTION, count - at)
            request.add([self._waiting.popleft() for _ in range(portion)])
            await asyncio.sleep(0)
        return request.body()

    async def _try(self, session: ClientSession, body: bytes, count: int) -> tuple[str, bool]:
        """Return why it was not taken, or nothing; and whether another try may help."""
        try:
            async with session.post(self._url, data=body, headers=self._headers) as answer:
                if answer.status in AGAIN:
                    return f"HTTP {answer.status}", True
                if answer.status >= 300:
                    return f"HTTP {answer.status}", False
                rejected, why = rejected_in(await answer.content.read(MOST_ANSWER))
        except (ClientError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__, True
        rejected = max(0, min(rejected, count))
        self._count("sent", count - rejected)
        self._count("rejected", rejected)
        if rejected:
            log.warning("the collector %s rejects %d spans: %s", self._url, rejected, why)
        return "", False

    def _count(self, outcome: str, spans: int) -> None:
        if spans:
            self._counts[self._service, outcome] += spans

    async def _pause(self, seconds: float) -> None:
        """Wait before another try, or until it is time to leave."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
