"""What is written is there after any kind of end, and a bad row harms nobody."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.databases import sqlite_url
from libs.common.errors import BadInput, Unavailable
from libs.common.world_map import Account, Assignment, Override, Ref, Shard, Token, ref
from services.control.endpoint_tracker import Endpoint, Stay
from services.control.store import SqlStore

WRITER = """
import asyncio, sys
from libs.common.world_map import Account, Shard
from services.control.store import SqlStore

async def main() -> None:
    store = SqlStore(sys.argv[1])
    await store.open()
    for number in range(100_000):
        shard = Shard(model="m", colo="ams", index=0, owner=f"s{number}", epoch=number)
        await store.write([shard, Account(id="a", name=str(number))])
        print(number, flush=True)

asyncio.run(main())
"""


async def test_everything_kept_comes_back(database_url: str) -> None:
    resources = [
        Account(id="a", name="ünï"),
        Token(hash="h", account="a", expires_at_ms=2**53),
        Override(model="m", region="", min=None, max=3, frozen=True),
        Shard(model="@cf/x/m", colo="ams", index=1, owner="", epoch=2**40),
        Assignment(node="n", model="m", instances=0),
    ]
    store = SqlStore(database_url)
    assert await store.open() == []

    await store.write(resources)
    await store.write([Account(id="a", name="new")], [Ref("token", "h"), Ref("token", "none")])
    await store.close()

    again = SqlStore(database_url)
    kept = await again.open()
    await again.close()
    assert {ref(each): each for each in kept} == {
        ref(each): each for each in (Account(id="a", name="new"), *resources[2:])
    }


async def test_stays_that_go_on_are_kept_and_those_that_ended_are_not(database_url: str) -> None:
    first, second = (
        Endpoint(instance=i, model="m", colo="c", node="n", address="h:1") for i in "ab"
    )
    begun = [Stay(endpoint=each, begin_ts=2**42) for each in (first, second)]
    store = SqlStore(database_url)
    await store.open()

    await store.keep_stays(begun, seen_ts=2**42)
    await store.keep_stays([replace(begun[0], end_ts=2**42 + 1)], seen_ts=2**42 + 1)
    await store.keep_stays([], seen_ts=2**42 + 9)
    await store.close()

    again = SqlStore(database_url)
    await again.open()
    assert await again.stays() == ([begun[1]], 2**42 + 9)
    await again.close()


async def test_a_write_is_whole_or_not_at_all(database_url: str) -> None:
    store = SqlStore(database_url)
    await store.open()

    with pytest.raises(BadInput) as caught:
        await store.write([Account(id="a"), Assignment(node="n", model="m", instances=-1)])
    await store.close()

    assert caught.value.pointer == "/instances"
    again = SqlStore(database_url)
    assert await again.open() == []
    await again.close()


async def test_a_row_that_nobody_can_read_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    store = SqlStore(sqlite_url(path))
    await store.open()
    await store.write([Account(id="a")])
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("insert into resources values ('account', 'bad', '{')")
        connection.execute("insert into resources values ('nonsense', 'x', '{}')")
    connection.close()

    again = SqlStore(sqlite_url(path))
    assert await again.open() == [Account(id="a")]
    await again.close()


async def test_a_store_that_cannot_be_had_is_unavailable(tmp_path: Path) -> None:
    store = SqlStore(sqlite_url(tmp_path / "missing" / "control.db"))
    with pytest.raises(Unavailable):
        await store.open()
    await store.close()


async def test_a_file_that_is_no_store_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_bytes(b"garbage" * 500)

    store = SqlStore(sqlite_url(path))
    with pytest.raises(Unavailable, match=f"{path} is not available: file is not a database"):
        await store.open()
    await store.close()


async def test_kill_9_loses_nothing_that_was_confirmed(database_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, database_url], stdout=subprocess.PIPE
    ) as it:
        assert it.stdout is not None
        for _ in range(50):
            confirmed = int(it.stdout.readline())
        it.kill()
        rest = it.stdout.read().split(b"\n")
    confirmed = max([confirmed, *(int(line) for line in rest[:-1])])

    store = SqlStore(database_url)
    kept = {type(each): each for each in await store.open()}
    await store.write([Account(id="b")])
    await store.close()

    shard, account = kept[Shard], kept[Account]
    assert isinstance(shard, Shard)
    assert isinstance(account, Account)
    assert shard.epoch >= confirmed
    assert account.name == str(shard.epoch)  # both rows of one transaction


async def test_writes_keep_their_order(database_url: str) -> None:
    store = SqlStore(database_url)
    await store.open()

    await asyncio.gather(*(store.write([Account(id="a", name=str(n))]) for n in range(20)))
    await store.close()

    again = SqlStore(database_url)
    assert await again.open() == [Account(id="a", name="19")]
    await again.close()
