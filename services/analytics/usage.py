"""Usage: what the events say, the ones that have just come in included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from msgspec import structs

from libs.common.errors import BadInput, UsageUnavailable
from libs.common.usage import MOST_RECENT, RecentPage, RecentQuery, UsageQuery, UsageRow
from services.analytics.ports import StoreError, UsageStore


class Usage:
    """Answers questions from the store; `flush(seconds)` brings into it what was received."""

    def __init__(
        self,
        *,
        store: UsageStore,
        flush: Callable[[float], Awaitable[None]],
        flush_seconds: float = 5.0,
        max_rows: int = 10_000,
        questions: int = 32,
        usd_per_1000_neurons: float = 0.011,
    ) -> None:
        self._store = store
        self._flush = flush
        self._flush_seconds = flush_seconds
        self._max_rows = max_rows
        self._questions = questions
        self._asked = 0
        self._usd_per_neuron = usd_per_1000_neurons / 1000

    async def query(self, query: UsageQuery) -> list[UsageRow]:
        """Return the rows, in the order of their groups."""
        if query.to_ms and query.to_ms <= query.from_ms:
            raise BadInput("the range ends before it begins", pointer="/to_ms")
        if not query.group_by or len(set(query.group_by)) < len(query.group_by):
            raise BadInput("group by one or more different things", pointer="/group_by")
        async with self.reading():
            rows = await self._store.usage(query, max_rows=self._max_rows + 1)
        if len(rows) > self._max_rows:
            raise BadInput(f"more than {self._max_rows} rows: ask for a shorter range")
        return [structs.replace(row, cost_usd=row.neurons * self._usd_per_neuron) for row in rows]

    async def recent(self, query: RecentQuery) -> RecentPage:
        """Return the last attempts, newest first."""
        if not 1 <= query.limit <= MOST_RECENT:
            raise BadInput(f"limit has to be between 1 and {MOST_RECENT}", pointer="/limit")
        async with self.reading():
            found = await self._store.recent(replace(query, limit=query.limit + 1))
        events = tuple(found[: query.limit])
        return RecentPage(
            events=events, next=events[-1].position if len(found) > query.limit else None
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Inside it, the store has what came before; what keeps it from that is told."""
        if self._asked >= self._questions:
            raise UsageUnavailable(f"{self._questions} questions wait for the store already")
        self._asked += 1
        try:
            await self._flush(self._flush_seconds)
            yield
        except StoreError as error:
            raise UsageUnavailable(f"usage cannot be read: {error}") from error
        except TimeoutError as error:
            raise UsageUnavailable("usage cannot be read: the store is slow or away") from error
        finally:
            self._asked -= 1
