"""The sink with a spool: what it has sealed arrives, whoever is away, killed or full meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from libs.common.events.metrics import SinkMetrics
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from libs.common.events.spool import SpoolConfig
from libs.common.events.spooling import Spooling, SpoolingConfig
from tests.analytics.support import FakeStore, event
from tests.analytics.test_sink import FAST, collector, kept_once
from tests.waiting import until


def sink_in(
    folder: Path,
    *,
    server: str = "ams-0",
    epoch: int = 1,
    spool_bytes: int = 1 << 20,
    adopt_seconds: float = 60.0,
    **changes: float | int,
) -> UnixSocketSink:
    spooling = SpoolingConfig(
        folder=folder / "spool",
        bounds=SpoolConfig(most_bytes=spool_bytes),
        sync_seconds=0.05,
        adopt_seconds=adopt_seconds,
    )
    settings = {"close_seconds": 2.0, "flush_seconds": 0.001} | changes
    config = SinkConfig(spooling=spooling, backoff=FAST, **settings)  # type: ignore[arg-type]
    return UnixSocketSink(folder / "events.sock", server=server, boot_epoch=epoch, config=config)


async def emit(sink: UnixSocketSink, numbers: range, *, at_once: int = 10) -> None:
    for number in numbers:
        sink.emit(event(number))
        if number % at_once == 0:
            await asyncio.sleep(0.002)


def came(store: FakeStore, epoch: int = 1) -> list[str]:
    """The ids of a boot's events, in the order in which they are stored."""
    last, found = 0, list[str]()
    for batch in store.batches:
        for sequence, each in enumerate(batch.events, batch.first_sequence):
            if batch.boot_epoch == epoch and sequence > last and each is not None:
                last = sequence
                found.append(each.request_id)  # type: ignore[union-attr]
    return found


async def test_what_is_left_when_the_collector_is_away_is_sent_by_the_next_start(
    folder: Path,
) -> None:
    async with asyncio.timeout(20):
        async with sink_in(folder) as sink:
            await emit(sink, range(1, 1001))
        assert sink.counts.dropped == 0

        store = FakeStore()
        async with collector(folder / "events.sock", store), sink_in(folder, epoch=2) as sink:
            sink.emit(event(1001))
            await sink.flush(5)

    assert came(store) == [event(number).request_id for number in range(1, 1001)]
    assert came(store, epoch=2) == [event(1001).request_id]
    assert [batch.boot_epoch for batch in store.batches][-1] == 2  # after all others
    assert sink.counts.ok == 1001
    assert list((folder / "spool").iterdir()) == []


async def test_leaving_does_not_wait_for_a_collector_that_is_away(folder: Path) -> None:
    async with asyncio.timeout(1):
        async with sink_in(folder, close_seconds=60) as sink:
            sink.emit(event(1))
            while not sink.counts.connect_err:
                await asyncio.sleep(0.01)


async def test_a_collector_that_is_slow_gets_everything_in_order(folder: Path) -> None:
    store = FakeStore()
    store.gate.clear()
    async with (
        asyncio.timeout(20),
        collector(folder / "events.sock", store),
        sink_in(folder, slots=4) as sink,
    ):
        await emit(sink, range(1, 2001))
        spool = sink.spool
        assert spool is not None
        assert spool.unread_events > 1000
        assert sink.waiting == 2000
        store.gate.set()
        await emit(sink, range(2001, 3001))
        await sink.flush(5)

        assert kept_once(store) == list(range(1, 3001))
        assert sink.counts.ok == 3000
        assert sink.waiting == spool.unread_events == 0
        assert spool.counts.replayed > 1000


async def test_beyond_the_bound_of_the_spool_every_lost_event_is_counted(folder: Path) -> None:
    bounds = {"slots": 4, "pending_events": 100, "spool_bytes": 200_000}
    store, count = FakeStore(), 3000
    async with asyncio.timeout(20), sink_in(folder, **bounds) as sink:  # type: ignore[arg-type]
        await emit(sink, range(1, count + 1))
        dropped = sink.counts.dropped
        spool = sink.spool
        assert spool is not None
        assert 200_000 <= spool.bytes < 210_000
        assert dropped == count - sink.waiting > 1000

        async with collector(folder / "events.sock", store):
            await sink.flush(5)
            sink.emit(event(count + 1))
            await sink.flush(5)

        assert sink.counts.dropped == dropped
        assert spool.bytes < 60_000  # of the segment that is written to

    kept = [event(number).request_id for number in range(1, count - dropped + 1)]
    assert came(store) == [*kept, event(count + 1).request_id]


async def test_a_burst_that_the_loop_has_no_turn_in_is_spooled(folder: Path) -> None:
    store, count = FakeStore(), 6000
    async with asyncio.timeout(20), sink_in(folder) as sink:
        spool = sink.spool
        assert spool is not None
        for number in range(1, count + 1):
            sink.emit(event(number))
        assert spool.counts.appended > count - sink._config.pending_events

        async with collector(folder / "events.sock", store):
            await sink.flush(10)

    assert sink.counts.dropped == 0
    assert came(store) == [event(number).request_id for number in range(1, count + 1)]


async def test_what_a_blip_of_the_disk_left_in_memory_is_spooled_also_when_nothing_follows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError("a blip")

    async with asyncio.timeout(20), sink_in(folder, slots=1) as sink:
        spool = sink.spool
        assert spool is not None
        for number in (1, 2):
            sink.emit(event(number))
            await until(lambda number=number: spool.counts.appended == number, 5)
        with monkeypatch.context() as patch:
            patch.setattr("os.writev", refuse)
            sink.emit(event(3))
            await until(lambda: spool.counts.errors == 1, 5)

        await until(lambda: spool.counts.appended == 3, 5)


async def test_what_others_have_left_is_taken_only_while_it_can_be_sent(folder: Path) -> None:
    store = FakeStore()
    async with asyncio.timeout(20):
        async with sink_in(folder, server="ams-9") as gone:
            await emit(gone, range(1, 101))
        async with sink_in(folder, adopt_seconds=0.01) as sink:
            spool = sink.spool
            assert spool is not None
            await asyncio.sleep(0.3)  # several looks
            assert spool.bytes == 0
            async with collector(folder / "events.sock", store):
                await until(lambda: len(came(store)) == 100, 5)


async def test_what_a_server_left_that_never_came_back_is_sent_by_another(folder: Path) -> None:
    store = FakeStore()
    async with asyncio.timeout(20):
        async with sink_in(folder, server="ams-9") as gone:
            await emit(gone, range(1, 101))
        async with (
            collector(folder / "events.sock", store),
            sink_in(folder, epoch=2, adopt_seconds=0.1),
        ):
            while len(came(store)) < 100:
                await asyncio.sleep(0.02)

    assert {batch.server for batch in store.batches} == {"ams-9"}
    assert list((folder / "spool").iterdir()) == []


async def test_a_disk_that_refuses_keeps_no_event_from_the_collector(folder: Path) -> None:
    (folder / "spool").write_text("in the way")
    store = FakeStore()
    async with asyncio.timeout(20), sink_in(folder) as sink:
        sink.emit(event(1))
        async with collector(folder / "events.sock", store):
            await sink.flush(5)
            spool = sink.spool
            assert spool is not None
            assert spool.counts.errors
            assert not spool.is_open

            (folder / "spool").unlink()
            while not spool.has_room:
                await asyncio.sleep(0.02)
            sink.emit(event(2))
            await sink.flush(5)

    assert spool.counts.appended == 1
    assert kept_once(store) == [1, 2]


async def test_a_damaged_spool_does_not_stop_what_is_whole(folder: Path) -> None:
    async with asyncio.timeout(20):
        async with sink_in(folder) as sink:
            await emit(sink, range(1, 301), at_once=100)
        (segment,) = (folder / "spool").rglob("*.events")
        data = bytearray(segment.read_bytes())
        data[200] ^= 1
        segment.write_bytes(data + b"evts")

        store = FakeStore()
        async with collector(folder / "events.sock", store), sink_in(folder, epoch=2) as sink:
            while sink.waiting:
                await asyncio.sleep(0.02)

    assert 200 <= len(came(store)) < 300
    assert sink.spool is not None
    assert (sink.spool.counts.corrupt, sink.spool.counts.torn) == (1, 1)


async def test_a_bug_in_reading_ends_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, calls = Spooling.read, list[int]()

    async def broken(self: Spooling, *, most_events: int, most_bytes: int) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a bug")
        return await read(self, most_events=most_events, most_bytes=most_bytes)

    async with asyncio.timeout(20):
        async with sink_in(folder) as sink:
            await emit(sink, range(1, 1001))
        monkeypatch.setattr(Spooling, "read", broken)
        store = FakeStore()
        async with collector(folder / "events.sock", store), sink_in(folder, epoch=2) as sink:
            while sink.waiting:
                await asyncio.sleep(0.02)

    assert len(came(store)) == 1000
    assert "could not be read" in caplog.text


async def test_what_waits_is_synced_while_it_waits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[Path]()
    monkeypatch.setattr("libs.common.events.spooling.sync", lambda paths: synced.extend(paths))
    async with asyncio.timeout(20), sink_in(folder) as sink:
        sink.emit(event(1))
        while not synced:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)

    assert len(synced) == 1


async def test_every_count_is_a_metric(folder: Path) -> None:
    registry = CollectorRegistry()
    metrics = SinkMetrics(registry, prefix="constellation_test_events_")
    async with asyncio.timeout(20), sink_in(folder) as sink:
        metrics.watch(sink)
        sink.emit(event(1))
        text = generate_latest(registry).decode()

    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert found['constellation_test_events_waiting{server="ams-0"}'] == "1.0"
    counts = "connect_err corrupt dropped ok replayed spool_err torn write_err"
    assert set(found) == {
        f'constellation_test_events_{name}{{server="ams-0"}}'
        for name in (
            *(f"{each}_total" for each in counts.split()),
            *("spool_bytes", "spooled", "waiting"),
        )
    }
