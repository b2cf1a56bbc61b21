"""Analytics as a whole: from a sink to the answer of a question."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from libs.common.clients.usage import UsageClient
from libs.common.errors import BadInput, Unavailable
from libs.common.events.sinks import UnixSocketSink
from libs.common.pb import usage_pb2, usage_pb2_grpc
from libs.common.rpc import CannotListen
from libs.common.usage import RecentQuery, UsageGroup, UsageQuery
from services.analytics.app import Analytics, Config, build, serve
from services.analytics.ports import StoreError
from tests.analytics.support import MODEL, event


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Analytics, tuple[str, ...]]]:
    analytics = build(config, registry=CollectorRegistry())
    async with asyncio.timeout(30), serve(config, analytics) as addresses:
        yield analytics, addresses


def sink_to(config: Config, server: str = "ams-0", boot_epoch: int = 1) -> UnixSocketSink:
    return UnixSocketSink(config.events_socket, server=server, boot_epoch=boot_epoch)


def test_building_opens_nothing(folder: Path) -> None:
    build(Config(state_dir=folder / "absent"), registry=CollectorRegistry())

    assert not (folder / "absent").exists()


async def test_what_was_emitted_is_in_the_answer(folder: Path) -> None:
    config = Config(state_dir=folder / "state")
    async with (
        running(config) as (_, addresses),
        UsageClient(addresses[0]) as client,
        sink_to(config) as ams,
        sink_to(config, "lhr-0") as lhr,
    ):
        for number in range(100):
            ams.emit(event(number, request_time_ms=float(number)))
            lhr.emit(event(1000 + number, model_id="@cf/demo/other", error_code=3040))
        await asyncio.gather(ams.flush(5), lhr.flush(5))

        rows = await client.query(UsageQuery())

    assert [(row.model, row.requests, row.errors) for row in rows] == [
        ("@cf/demo/other", 100, 100),
        (MODEL, 100, 0),
    ]
    assert (rows[1].neurons, rows[1].p50_ms) == (150.0, pytest.approx(49.5, rel=0.03))


async def test_the_last_attempts_are_as_they_were_emitted(folder: Path) -> None:
    config = Config(state_dir=folder)
    emitted = [
        event(number, visited_colos=("ams", "lhr"), flags=5, audio_seconds=1.5, shard_epoch=2**60)
        for number in range(5)
    ]
    async with (
        running(config) as (_, addresses),
        UsageClient(addresses[0]) as client,
        sink_to(config) as sink,
    ):
        for each in emitted:
            sink.emit(each)
        await sink.flush(5)

        newest = await client.recent(RecentQuery(limit=3))
        oldest = await client.recent(RecentQuery(limit=3, before=newest.next))
        with pytest.raises(BadInput, match="limit has to be"):
            await client.recent(RecentQuery(limit=1001))

    assert [each.event for each in (*newest.events, *oldest.events)] == emitted[::-1]
    assert oldest.next is None


async def test_a_question_does_not_wait_for_the_next_write(folder: Path) -> None:
    config = Config(state_dir=folder, write_age_seconds=60)
    async with (
        running(config) as (analytics, addresses),
        UsageClient(addresses[0]) as client,
        sink_to(config) as sink,
    ):
        sink.emit(event(1))
        while not analytics.lines.each["duckdb"].waiting_events:
            await asyncio.sleep(0.01)

        (row,) = await client.query(UsageQuery())

        assert row.requests == 1


async def test_everything_emitted_before_the_end_is_there_after_a_restart(folder: Path) -> None:
    config = Config(state_dir=folder)
    for boot in range(2):
        async with running(config), sink_to(config, boot_epoch=boot) as sink:
            for number in range(1000):
                sink.emit(event(number, request_id=f"{boot}-{number}"))
    async with running(config) as (_, addresses), UsageClient(addresses[0]) as client:
        (row,) = await client.query(UsageQuery())

    assert row.requests == 2000


async def test_it_answers_on_the_network_when_told_to(folder: Path) -> None:
    config = Config(state_dir=folder, listen="127.0.0.1:0")
    async with running(config) as (_, addresses):
        assert len(addresses) == 2
        assert addresses[1].startswith("127.0.0.1:")
        async with UsageClient(addresses[1]) as client:
            assert await client.query(UsageQuery(group_by=(UsageGroup.HOUR,))) == []


async def test_errors_cross_the_wire_with_their_names(folder: Path) -> None:
    config = Config(state_dir=folder)
    async with running(config) as (_, addresses), UsageClient(addresses[0]) as client:
        with pytest.raises(BadInput, match="ends before it begins") as raised:
            await client.query(UsageQuery(from_ms=5, to_ms=4))
        assert raised.value.pointer == "/to_ms"

        async with grpc.aio.insecure_channel(addresses[0]) as channel:
            stub = usage_pb2_grpc.UsageServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Query(usage_pb2.QueryRequest(group_by=[99]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async with UsageClient(addresses[0]) as client:
        with pytest.raises(Unavailable):
            await client.query(UsageQuery())


async def test_state_is_its_owners_alone(folder: Path) -> None:
    config = Config(state_dir=folder / "state")
    async with running(config):
        assert stat.S_IMODE(config.state_dir.stat().st_mode) == 0o700
        for path in (config.events_socket, config.usage_socket):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_second_one_on_the_same_folder_is_refused_and_does_no_harm(folder: Path) -> None:
    config = Config(state_dir=folder)
    async with running(config) as (_, addresses), UsageClient(addresses[0]) as client:
        with pytest.raises((CannotListen, StoreError)):
            async with running(config):
                pass

        assert await client.query(UsageQuery()) == []


async def test_a_folder_with_too_long_a_name_says_so(folder: Path) -> None:
    with pytest.raises(CannotListen, match="longer than 107 bytes"):
        async with running(Config(state_dir=folder / ("x" * 110))):
            pass


async def test_a_full_answer_is_refused_rather_than_cut(folder: Path) -> None:
    config = Config(state_dir=folder, max_rows=3)
    async with (
        running(config) as (_, addresses),
        UsageClient(addresses[0]) as client,
        sink_to(config) as sink,
    ):
        for number in range(4):
            sink.emit(replace(event(number), model_id=f"m{number}"))
        await sink.flush(5)

        with pytest.raises(BadInput, match="more than 3 rows"):
            await client.query(UsageQuery())
