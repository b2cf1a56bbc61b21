"""`constellation bench usage`: how fast a DuckDB file with many events answers what was used.

Events of accounts with two models each, in two colos, some of them failed, spread over some days,
are written as the collector writes them, and asked for before and after they are rolled up; each
question so often, and its median told.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from bench.arguments import positive_int
from bench.report import say, table
from libs.common.events.values import Batch, InferenceEvent
from libs.common.usage import RecentQuery, UsageGroup, UsageQuery
from services.analytics.stores.duckdb import DuckDBStore
from services.analytics.stores.duckdb_hours import DAY_MS, Keeping

BATCH = 4096
MODELS = tuple(f"@cf/bench/model-{number}" for number in range(8))
CODES = (0,) * 40 + (3040, 3043)
NOW_MS = 1_764_000_000_000  # the end of the days that the events are of
BOUND_MS = 100.0  # for usage by model and hour

QUESTIONS = {
    "by model and hour": UsageQuery(group_by=(UsageGroup.MODEL, UsageGroup.HOUR)),
    "by model": UsageQuery(),
    "by hour, an account's": UsageQuery(group_by=(UsageGroup.HOUR,), account="account-3"),
    "by model, finetune, source, error code": UsageQuery(
        group_by=(
            UsageGroup.MODEL,
            UsageGroup.FINETUNE,
            UsageGroup.SOURCE,
            UsageGroup.ERROR_CODE,
        )
    ),
    "the last day by model and minute": UsageQuery(
        group_by=(UsageGroup.MODEL, UsageGroup.MINUTE), from_ms=NOW_MS - DAY_MS
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Ask as the arguments say; 1 if usage by model and hour takes too long."""
    arguments = parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="constellation-") as folder:
        return asyncio.run(measure(Path(folder), arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of this benchmark's arguments."""
    parser = argparse.ArgumentParser(
        prog="constellation bench usage", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("--events", type=positive_int, default=1_000_000)
    parser.add_argument("--days", type=positive_int, default=7, help="that they are spread over")
    parser.add_argument("--accounts", type=positive_int, default=20)
    parser.add_argument("--rounds", type=positive_int, default=9)
    return parser


async def measure(folder: Path, arguments: argparse.Namespace) -> int:
    """Write, ask, roll up, ask again; 1 if the bound is missed."""
    file = folder / "events.duckdb"
    for_ever = Keeping(events_days=0, usage_days=0, every_s=3600)
    async with DuckDBStore(file, keeping=for_ever) as store:
        written_s = await _timed(lambda: _write(store, arguments))
        before = await _asked(store, arguments.rounds)
        rolled_s = await _timed(lambda: _roll(store))
        after = await _asked(store, arguments.rounds)
    rate = arguments.events / written_s
    say(f"{arguments.events} events of {arguments.days} days: {rate:,.0f} written a second")
    say(f"rolled up in {rolled_s:.1f} s, {file.stat().st_size / 1e6:.0f} MB")
    heads = ("question", "rows", "of events, ms", "of roll-ups, ms")
    cells = [
        (name, str(rows), f"{raw_ms:.0f}", f"{after[name][1]:.0f}")
        for name, (rows, raw_ms) in before.items()
    ]
    say(table(heads, cells))
    return 0 if after["by model and hour"][1] <= BOUND_MS else 1


def batches(events: int, *, days: int, accounts: int) -> Iterator[Batch]:
    """Make the events, in the order of their time, as one server sends them."""
    rng = random.Random(7)
    begins = NOW_MS - days * DAY_MS
    for first in range(0, events, BATCH):
        some = tuple(
            _event(rng, begins + at * days * DAY_MS // events, accounts)
            for at in range(first, min(first + BATCH, events))
        )
        yield Batch(server="ams-server", boot_epoch=1, first_sequence=first + 1, events=some)


def _event(rng: random.Random, timestamp_ms: int, accounts: int) -> InferenceEvent:
    code = rng.choice(CODES)
    account = rng.randrange(accounts)
    took_ms = rng.lognormvariate(5.0, 0.8)
    return InferenceEvent(
        account_id=f"account-{account}",
        model_id=MODELS[(account + rng.randrange(2)) % len(MODELS)],
        request_id=f"01{rng.getrandbits(120):024x}",
        timestamp_ms=timestamp_ms,
        attempt=int(rng.random() < 0.01),
        finetune="" if account % 4 else f"finetune-{account}",
        request_source=1 if account % 2 else 3,
        request_time_ms=took_ms,
        time_to_first_token=took_ms / 10,
        queue_us=int(took_ms * 20),
        neurons=1.5,
        tokens_in=50,
        tokens_out=200,
        error_code=code,
        http_status=429 if code else 200,
        colo_id=rng.choice(("ams", "lhr")),
        endpoint="127.0.0.1:8001",
    )


async def _write(store: DuckDBStore, arguments: argparse.Namespace) -> None:
    for batch in batches(arguments.events, days=arguments.days, accounts=arguments.accounts):
        await store.write([batch])


async def _roll(store: DuckDBStore) -> None:
    for _ in range(2):  # what has just come is left for the next time
        await store.upkeep(NOW_MS + DAY_MS)


async def _asked(store: DuckDBStore, rounds: int) -> dict[str, tuple[int, float]]:
    """Return how many rows each question has, and the median of its milliseconds."""
    found = {}
    for name, query in QUESTIONS.items():
        times = []
        for _ in range(rounds):
            begun = time.perf_counter()
            rows = len(await store.usage(query, max_rows=100_000))
            times.append((time.perf_counter() - begun) * 1000)
        found[name] = (rows, statistics.median(times))
    begun = time.perf_counter()
    last = len(await store.recent(RecentQuery(limit=50)))
    found["the last 50 requests"] = (last, (time.perf_counter() - begun) * 1000)
    return found


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun
