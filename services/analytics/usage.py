"""Usage: what the events add up to, the ones that have just come in included."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from libs.common.errors import BadInput, Unavailable
from libs.common.usage import UsageQuery, UsageRow
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
    ) -> None:
        self._store = store
        self._flush = flush
        self._flush_seconds = flush_seconds
        self._max_rows = max_rows

    async def query(self, query: UsageQuery) -> list[UsageRow]:
        """Return the rows, in the order of their groups."""
        if query.to_ms and query.to_ms <= query.from_ms:
            raise BadInput("the range ends before it begins", pointer="/to_ms")
        if not query.group_by or len(set(query.group_by)) < len(query.group_by):
            raise BadInput("group by one or more different things", pointer="/group_by")
        try:
            await self._flush(self._flush_seconds)
            rows = await self._store.usage(query, max_rows=self._max_rows + 1)
        except StoreError as error:
            raise Unavailable(f"usage cannot be read: {error}") from error
        except TimeoutError as error:
            raise Unavailable("usage cannot be read: the store is slow or away") from error
        if len(rows) > self._max_rows:
            raise BadInput(f"more than {self._max_rows} rows: ask for a shorter range")
        return rows
