"""The sink, with a collector that comes, goes, and misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from libs.common.backoff import Backoff
from libs.common.clock import SystemClock
from libs.common.events.framing import LENGTH, decode_batch, encode_ack, read_frame
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from libs.common.events.values import Ack, Batch
from services.analytics.batcher import BatchPolicy
from services.analytics.collector import Collector
from services.analytics.events_api import collecting
from services.analytics.storing import Storing
from tests.analytics.support import FakeStore, event

FAST = Backoff(first_s=0.01, most_s=0.05)


def sink_to(path: Path, **changes: float | int) -> UnixSocketSink:
    config = SinkConfig(**({"backoff": FAST, "close_seconds": 2.0} | changes))  # type: ignore[arg-type]
    return UnixSocketSink(path, server="ams-0", boot_epoch=1, config=config)


@asynccontextmanager
async def collector(path: Path, store: FakeStore) -> AsyncIterator[None]:
    storing = Storing(
        store=store,
        name="fake",
        clock=SystemClock(),
        policy=BatchPolicy(write_age_seconds=0.01),
    )
    async with (
        storing.running(),
        collecting(path, Collector(line=storing), storing, drain_seconds=0.1),
    ):
        yield


def kept_once(store: FakeStore) -> list[int]:
    """The sequences that a store with watermarks keeps."""
    kept: list[int] = []
    for sequence in store.sequences:
        if sequence > (kept[-1] if kept else 0):
            kept.append(sequence)
    return kept


async def test_what_was_emitted_while_the_collector_was_away_arrives_in_order(
    folder: Path,
) -> None:
    path, store = folder / "events.sock", FakeStore()
    async with asyncio.timeout(20), sink_to(path) as sink:
        for round_ in range(3):
            for number in range(round_ * 200, round_ * 200 + 100):
                sink.emit(event(number))
            await asyncio.sleep(0.05)
            async with collector(path, store):
                for number in range(round_ * 200 + 100, round_ * 200 + 200):
                    sink.emit(event(number))
                    await asyncio.sleep(0)
                await sink.flush(5)

        assert kept_once(store) == list(range(1, 601))
        assert sink.counts.ok == 600
        assert sink.counts.dropped == 0
        assert sink.counts.connect_err > 0
        assert sink.counts.write_err >= 2


async def test_an_event_after_a_pause_goes_soon_and_those_after_it_together(folder: Path) -> None:
    path, store = folder / "events.sock", FakeStore()
    async with asyncio.timeout(20), collector(path, store):
        async with sink_to(path, flush_seconds=60.0) as sink:
            sink.emit(event(0))
            while not sink.counts.ok:
                await asyncio.sleep(0.001)
            for number in range(1, 20):
                sink.emit(event(number))
                await asyncio.sleep(0.001)

        assert [len(batch.events) for batch in store.batches] == [1, 19]


async def test_a_collector_that_dies_before_it_acknowledges_gets_the_batches_again(
    folder: Path,
) -> None:
    path, received = folder / "events.sock", asyncio.Queue[Batch]()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await received.put(decode_batch(await read_frame(reader, max_bytes=1 << 20), max_events=9))
        writer.close()

    server = await asyncio.start_unix_server(mute, path)
    async with asyncio.timeout(20), sink_to(path) as sink:
        for number in range(3):
            sink.emit(event(number))
        first, second = await received.get(), await received.get()
        server.close()
        path.unlink(missing_ok=True)
        assert first == second

        store = FakeStore()
        async with collector(path, store):
            await sink.flush(5)

    assert store.sequences == [1, 2, 3]


async def test_the_watchdog_opens_a_connection_anew_whose_acknowledgements_stay_away(
    folder: Path,
) -> None:
    path, connections = folder / "events.sock", 0

    async def lazy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.read()  # until the sink leaves
        else:
            frame = await read_frame(reader, max_bytes=1 << 20)
            last = decode_batch(frame, max_events=9).last_sequence
            writer.write(encode_ack(Ack(server="ams-0", boot_epoch=1, last_sequence=last)))
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(lazy, path)
    async with asyncio.timeout(20), sink_to(path, watchdog_seconds=0.1) as sink:
        await asyncio.sleep(0.3)
        assert connections == 1  # nothing is awaited, so nothing is overdue
        sink.emit(event(1))
        await sink.flush(5)

        assert connections == 2
        assert sink.counts.write_err == 1
        await asyncio.sleep(0.3)
        assert connections == 2
    server.close()


async def test_acknowledgements_that_make_no_sense_end_the_connection(folder: Path) -> None:
    path, answers = (
        folder / "events.sock",
        iter(
            [
                encode_ack(Ack(server="lhr-0", boot_epoch=1, last_sequence=1)),
                encode_ack(Ack(server="ams-0", boot_epoch=2, last_sequence=1)),
                encode_ack(Ack(server="ams-0", boot_epoch=1, last_sequence=9)),
                LENGTH.pack(2**31),
                LENGTH.pack(8) + b"\xff" * 8,
                encode_ack(Ack(server="ams-0", boot_epoch=1, last_sequence=1)),
            ]
        ),
    )

    async def liar(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader, max_bytes=1 << 20)
        writer.write(next(answers))
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(liar, path)
    async with asyncio.timeout(20), sink_to(path) as sink:
        sink.emit(event(1))
        await sink.flush(5)

        assert sink.counts.write_err == 5
        assert sink.counts.ok == 1
    server.close()


async def test_what_does_not_fit_is_dropped_and_counted(folder: Path) -> None:
    path, store = folder / "events.sock", FakeStore()
    bounds = {"slots": 2, "batch_events": 10, "pending_events": 20, "flush_seconds": 0.001}
    async with asyncio.timeout(20), sink_to(path, **bounds) as sink:
        for number in range(100):
            sink.emit(event(number))
            await asyncio.sleep(0.002)
        dropped = sink.counts.dropped
        assert 50 <= dropped <= 80  # two batches of at most ten, twenty that wait

        async with collector(path, store):
            await sink.flush(5)

    assert store.sequences == list(range(1, 100 - dropped + 1))
    assert sink.counts.ok + sink.counts.dropped == 100


async def test_leaving_waits_for_the_last_events(folder: Path) -> None:
    path, store = folder / "events.sock", FakeStore()
    async with asyncio.timeout(20), collector(path, store):
        async with sink_to(path) as sink:
            for number in range(1500):
                sink.emit(event(number))
        sink.emit(event(1501))

    assert store.sequences == list(range(1, 1501))
    assert (sink.counts.ok, sink.counts.dropped) == (1500, 1)


async def test_leaving_without_a_collector_is_bounded_and_counted(folder: Path) -> None:
    async with asyncio.timeout(2):
        async with sink_to(folder / "events.sock", close_seconds=0.1) as sink:
            sink.emit(event(1))

    assert sink.counts.dropped == 1


async def test_events_from_before_it_is_entered_are_sent(folder: Path) -> None:
    path, store = folder / "events.sock", FakeStore()
    sink = sink_to(path)
    sink.emit(event(1))
    assert repr(sink).startswith("<UnixSocketSink ams-0 away <Outbox pending=1/")
    async with asyncio.timeout(20), collector(path, store), sink:
        await sink.flush(5)

    assert store.sequences == [1]
