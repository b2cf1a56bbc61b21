"""The DuckDB store: rows and columns, files of other versions, failures, and questions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest
from msgspec.structs import fields, replace

from libs.common.events.values import Batch, InferenceEvent, LifecycleEvent
from libs.common.usage import UsageQuery
from services.analytics.ports import StoreError
from services.analytics.stores import duckdb_schema
from services.analytics.stores.duckdb import DuckDBStore
from tests.analytics.support import batch, event

LIMIT = "SELECT current_setting('memory_limit')"


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / "events.duckdb"


def read(file: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(file)) as connection:
        return connection.execute(sql).fetchall()


async def test_a_row_has_the_events_values(file: Path) -> None:
    one = event(visited_colos=("ams", "lhr"), flags=5, tokens_in=2**64 - 1, hops=2)
    gone = LifecycleEvent(begin_ts=5, end_ts=9, colo="ams", endpoint="h:1")
    async with DuckDBStore(file) as store:
        await store.write(
            [Batch(server="ams-0", boot_epoch=7, first_sequence=3, events=(one, gone))]
        )

    names = ", ".join(field.name for field in fields(InferenceEvent))
    ((*identity, source, flags, colos, tokens, hops),) = read(
        file,
        "SELECT server, boot_epoch, sequence, request_source, flags, visited_colos, tokens_in,"
        " hops FROM inference_events",
    )
    assert identity == ["ams-0", 7, 3]
    assert (source, flags, colos, tokens, hops) == ("rest", 5, ["ams", "lhr"], 2**64 - 1, 2)
    assert len(read(file, f"SELECT {names} FROM inference_events")) == 1
    assert read(file, "SELECT * FROM lifecycle_events") == [
        ("ams-0", 7, 4, 5, 9, "endpoint", "", "", "ams", "", "h:1")
    ]
    assert read(file, "SELECT * FROM watermarks") == [("ams-0", 7, "", 4)]


@pytest.mark.parametrize(
    ("table", "cls"), [("inference_events", InferenceEvent), ("lifecycle_events", LifecycleEvent)]
)
async def test_the_columns_are_the_fields_of_the_event(file: Path, table: str, cls: type) -> None:
    async with DuckDBStore(file):
        pass

    columns = [name for name, *_ in read(file, f"DESCRIBE {table}")]

    assert columns == ["server", "boot_epoch", "sequence", *(field.name for field in fields(cls))]


async def test_a_file_from_before_is_brought_up_to_date(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DuckDBStore(file) as store:
        await store.write([batch(1, 2)])
    step = "ALTER TABLE inference_events ADD COLUMN mood VARCHAR DEFAULT ''; "
    monkeypatch.setattr(
        "services.analytics.stores.duckdb.MIGRATIONS", (*duckdb_schema.MIGRATIONS, step)
    )
    for _ in range(2):
        async with DuckDBStore(file) as store:
            await store.write([batch(1, 3)])

    assert read(file, "SELECT mood, count(*) FROM inference_events GROUP BY ALL") == [("", 3)]
    assert read(file, "SELECT max(version) FROM schema_version") == [
        (len(duckdb_schema.MIGRATIONS) + 1,)
    ]


async def test_watermarks_from_before_there_were_partitions_still_hold(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute(duckdb_schema.VERSION_TABLE)
        connection.execute(duckdb_schema.MIGRATIONS[0])
        connection.execute("INSERT INTO schema_version VALUES (1)")
        connection.execute("INSERT INTO watermarks VALUES ('ams-0', 1, 3)")

    async with DuckDBStore(file) as store:
        await store.write([batch(1, 4)])

    assert read(file, "SELECT sequence FROM inference_events") == [(4,)]


async def test_each_partition_has_a_watermark_of_its_own(file: Path) -> None:
    def part(partition: str, *numbers: int) -> list[Batch]:
        return [replace(batch(number, 1), partition=partition) for number in numbers]

    for _ in range(2):
        async with DuckDBStore(file) as store:
            await store.write([*part("events/1", 2, 4), *part("events/0", 1, 3)])
            await store.write([*part("events/0", 1, 3, 5), *part("events/1", 4)])

    assert read(file, "SELECT sequence FROM inference_events ORDER BY ALL") == [
        (number,) for number in range(1, 6)
    ]


async def test_a_file_is_told_from_others_and_stays_itself(file: Path) -> None:
    found = []
    for path in (file, file, file.with_name("other")):
        async with DuckDBStore(path) as store:
            found.append(store.identity)

    assert found[0] == found[1] != found[2]
    assert found[0]


async def test_a_file_from_a_newer_version_is_refused(file: Path) -> None:
    async with DuckDBStore(file):
        pass
    read(file, "INSERT INTO schema_version VALUES (99)")

    with pytest.raises(StoreError, match=r"newer version \(schema 99"):
        async with DuckDBStore(file):
            pass


async def test_a_file_that_another_process_has_says_so_in_one_line(file: Path) -> None:
    script = (
        "import duckdb, sys\n"
        f"connection = duckdb.connect({str(file)!r})\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()

        with pytest.raises(StoreError, match="is in use by another process") as raised:
            async with DuckDBStore(file):
                pass

        other.stdin.close()
        assert str(other.pid) in str(raised.value)
        assert "\n" not in str(raised.value)


async def test_a_file_that_is_no_database_says_so(file: Path) -> None:
    file.write_text("hello" * 1000)

    with pytest.raises(StoreError, match="not a valid DuckDB database"):
        async with DuckDBStore(file):
            pass


async def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise duckdb.IOException("No space left on device\nmore")

    async with DuckDBStore(file) as store:
        await store.write([batch(1, 2)])
        with monkeypatch.context() as patch:
            patch.setattr("services.analytics.stores.duckdb.watermark_columns", fail)
            with pytest.raises(StoreError, match=r"^No space left on device$"):
                await store.write([batch(3, 2)])
            with pytest.raises(StoreError, match="is not open"):
                await store.usage(UsageQuery(), max_rows=1)

        await store.write([batch(1, 2), batch(3, 2)])

        (row,) = await store.usage(UsageQuery(), max_rows=9)
        assert row.requests == 4


async def test_writes_go_on_while_a_question_is_answered(file: Path) -> None:
    async with DuckDBStore(file) as store:
        await store.write([batch(1, 1000)])

        *answers, _ = await asyncio.gather(
            *(store.usage(UsageQuery(), max_rows=9) for _ in range(10)),
            *(store.write([batch(first, 100)]) for first in range(1001, 2001, 100)),
        )

        assert answers[0]
        (row,) = await store.usage(UsageQuery(), max_rows=9)
        assert row.requests == 2000


async def test_a_question_that_takes_too_long_is_stopped_and_the_next_is_answered(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = "SELECT count(*) AS requests FROM range(10000000000) WHERE range % 7 = 3"
    async with DuckDBStore(file, query_seconds=1.0) as store:  # a busy machine takes its time
        await store.write([batch(1, 1)])
        with monkeypatch.context() as patch:
            patch.setattr("services.analytics.stores.duckdb_usage.RETRIED", endless)
            with pytest.raises(TimeoutError):
                await store.usage(UsageQuery(), max_rows=9)

        for _ in range(3):
            store._interrupt()  # one that comes when the question has just been answered
            assert await store.usage(UsageQuery(), max_rows=9)


async def test_memory_does_not_follow_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.analytics.stores.duckdb.CACHED_WRITES", 4)
    cached = "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'"
    async with DuckDBStore(file, memory_mb=300) as store:
        connection = store._connection
        assert connection is not None
        for number in range(3):
            await store.write([batch(1 + 20_000 * number, 20_000)])
        await store.upkeep(now_ms=0)  # else the log's rows are in memory, too
        assert not file.with_name(f"{file.name}.wal").exists()
        ((before,),) = connection.execute(cached).fetchall()
        ((limit,),) = connection.execute(LIMIT).fetchall()

        await store.write([batch(60_001, 1)])

        ((after,),) = connection.execute(cached).fetchall()
        assert after < before / 2
        assert connection.execute(LIMIT).fetchall() == [(limit,)]  # as it was
        (row,) = await store.usage(UsageQuery(), max_rows=10)
        assert row.requests == 60_001


async def test_the_log_comes_into_the_file_when_a_group_of_events_is_in_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.analytics.stores.duckdb.NEARLY_A_GROUP", 10)
    log = file.with_name(f"{file.name}.wal")
    async with DuckDBStore(file) as store:
        await store.write([batch(1, 9)])
        assert log.exists()

        await store.write([batch(10, 1)])
        assert not log.exists()

        reader = store._reader
        assert reader is not None
        reader.begin()
        reader.execute("INSERT INTO usage_open VALUES (1)")  # as an hour that is rolled up
        await store.write([batch(11, 10)])
        assert log.exists()
        reader.rollback()

        await store.write([batch(21, 1)])
        assert not log.exists()
        (row,) = await store.usage(UsageQuery(), max_rows=10)
        assert row.requests == 21


async def test_lists_are_kept_beside_events_without_one(file: Path) -> None:
    visited = event(1, visited_colos=("fra", "lhr"))
    both = Batch(server="ams-0", boot_epoch=1, first_sequence=1, events=(visited, event(2)))
    async with DuckDBStore(file) as store:
        await store.write([both])
        await store.write([batch(3, 1)])

    with duckdb.connect(str(file)) as connection:
        rows = connection.execute("SELECT visited_colos FROM inference_events ORDER BY sequence")
        assert rows.fetchall() == [(["fra", "lhr"],), ([],), ([],)]


async def test_a_write_that_fails_during_a_question_stops_it_and_the_next_is_answered(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    def endless(reader: duckdb.DuckDBPyConnection) -> object:
        began.set()
        sql = "SELECT count(*) FROM range(10000000000) WHERE range % 7 = 3"
        return reader.execute(sql).fetchall()

    began = threading.Event()
    async with asyncio.timeout(30), DuckDBStore(file, query_seconds=20.0) as store:
        await store.write([batch(1, 2)])
        asked = asyncio.create_task(store._ask(endless))
        await asyncio.to_thread(began.wait, 5)
        with monkeypatch.context() as patch:
            patch.setattr("services.analytics.stores.duckdb.watermark_columns", fail)
            with pytest.raises(StoreError, match="No space left"):
                await store.write([batch(3, 2)])
        with pytest.raises(StoreError, match=r"(?i)interrupt"):
            await asked

        await store.write([batch(3, 2)])

        (row,) = await store.usage(UsageQuery(), max_rows=9)
        assert row.requests == 4
