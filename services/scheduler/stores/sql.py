"""Series and decisions in two tables of SQLite, or of another SQL database.

Its calls block, so they run in one thread of their own, in order; it is opened by the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
    select,
)

from libs.common import databases
from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.explanation import Question
from libs.common.messages import resource_from_json, resource_to_json
from libs.common.world_map import Decision
from services.scheduler.ports import Kept
from services.scheduler.usage import Key

T = TypeVar("T")
DAY_MS = 86_400_000
PRUNE_MS = 3_600_000  # between two looks for what is too old
metadata = MetaData()
series = Table(
    "scheduler_series",
    metadata,
    Column("model", String(400), primary_key=True),
    Column("region", String(100), primary_key=True),
    Column("saved_ms", BigInteger, nullable=False),
    Column("boot_s", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
decisions = Table(
    "scheduler_decisions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("model", String(400), nullable=False),
    Column("region", String(100), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("scheduler_decisions_by_model", "model", "region", "at_ms"),
    Index("scheduler_decisions_by_time", "at_ms"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long decisions are kept, and how many; and series of models that are gone."""

    decision_days: float = 7.0
    most_decisions: int = 1_000_000
    series_days: float = 30.0


class SqlArchive:
    """Implements `ports.History` and `ports.DecisionLog`."""

    def __init__(self, url: str, *, clock: Clock, retention: Retention | None = None) -> None:
        self._url = url
        self._clock = clock
        self._retention = retention or Retention()
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="archive")
        self._pruned_ms = 0

    def __repr__(self) -> str:
        return f"<SqlArchive {'open' if self._engine else 'closed'}>"

    async def load(self) -> Mapping[Key, Kept]:
        """Return all series that are kept."""
        return await self._in_thread(self._load)

    async def save(self, kept: Mapping[Key, Kept]) -> None:
        """Replace some series."""
        if kept:
            await self._in_thread(lambda: self._save(kept))

    async def add(self, decisions: Sequence[Decision]) -> None:
        """Keep decisions; now and then, let go of the oldest."""
        if decisions:
            await self._in_thread(lambda: self._add(decisions))

    async def find(self, question: Question) -> tuple[Decision, ...]:
        """Return decisions, of each region the newest first."""
        return await self._in_thread(lambda: tuple(self._find(question)))

    async def close(self) -> None:
        """Close the database; what was handed over is written first."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except databases.ERRORS as error:
            why = databases.reason(error)
            raise Unavailable(f"the scheduler's store is not available: {why}") from error

    def _opened(self) -> Engine:
        if self._engine is None:
            # A crash may cost the last decisions.
            self._engine = databases.opened(self._url, metadata, sqlite="NORMAL")
        return self._engine

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _load(self) -> dict[Key, Kept]:
        oldest = self._clock.unix_ms() - int(self._retention.series_days * DAY_MS)
        with self._opened().begin() as connection:
            connection.execute(series.delete().where(series.c.saved_ms < oldest))
            rows = connection.execute(series.select()).all()
        return {Key(row.model, row.region): Kept(row.body, row.boot_s) for row in rows}

    def _save(self, kept: Mapping[Key, Kept]) -> None:
        now = self._clock.unix_ms()
        with self._opened().begin() as connection:
            for key, each in kept.items():
                connection.execute(
                    series.delete().where(
                        series.c.model == key.model, series.c.region == key.region
                    )
                )
                row = {"model": key.model, "region": key.region, "saved_ms": now}
                connection.execute(
                    series.insert(), [{**row, "boot_s": each.boot_s, "body": each.series}]
                )

    def _add(self, made: Sequence[Decision]) -> None:
        rows = [
            {
                "model": each.model,
                "region": each.region,
                "at_ms": each.at_ms,
                "body": resource_to_json(each).decode(),
            }
            for each in made
        ]
        with self._opened().begin() as connection:
            connection.execute(decisions.insert(), rows)
            if (now := self._clock.unix_ms()) - self._pruned_ms >= PRUNE_MS:
                oldest = now - int(self._retention.decision_days * DAY_MS)
                connection.execute(decisions.delete().where(decisions.c.at_ms < oldest))
                newest = connection.execute(select(func.max(decisions.c.id))).scalar_one()
                below = (newest or 0) - self._retention.most_decisions
                connection.execute(decisions.delete().where(decisions.c.id <= below))
                self._pruned_ms = now

    def _find(self, question: Question) -> list[Decision]:
        mine = decisions.c.model == question.model
        with self._opened().connect() as connection:
            wanted = [question.region]
            if not question.region:
                query = select(decisions.c.region).where(mine).distinct()
                wanted = sorted(row.region for row in connection.execute(query))
            found: list[Decision] = []
            for region in wanted:
                query = select(decisions.c.body).where(mine, decisions.c.region == region)
                if question.at_ms:
                    query = query.where(decisions.c.at_ms <= question.at_ms)
                query = query.order_by(decisions.c.at_ms.desc(), decisions.c.id.desc())
                rows = connection.execute(query.limit(question.count))
                found += [_read(row.body) for row in rows]
        return found


def _read(body: str) -> Decision:
    decision = resource_from_json("decision", body)
    assert isinstance(decision, Decision)
    return decision
