"""The collector over real sockets, in front of a store that does as it is told."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import TypeAlias

import pytest

from libs.common.backoff import Backoff
from libs.common.clock import SystemClock
from libs.common.events.framing import LENGTH, decode_ack, read_frame
from libs.common.rpc import CannotListen
from services.analytics.batcher import BatchPolicy
from services.analytics.collector import Collector, CollectorLimits
from services.analytics.events_api import bind, collecting
from services.analytics.storing import Storing
from tests.analytics.support import FakeStore, batch, frame

FAST = BatchPolicy(write_events=100, write_age_seconds=0.01, waiting_events=20)


class Rig:
    """A collector that listens."""

    def __init__(self, path: Path, limits: CollectorLimits, policy: BatchPolicy) -> None:
        self.path = path
        self.store = FakeStore()
        self.storing = Storing(
            store=self.store,
            name="fake",
            clock=SystemClock(),
            policy=policy,
            retry=Backoff(first_s=0.01, most_s=0.02),
        )
        self.collector = Collector(line=self.storing, limits=limits)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)


Start: TypeAlias = Callable[..., AbstractAsyncContextManager[Rig]]


@pytest.fixture
def rig(folder: Path) -> Start:
    @asynccontextmanager
    async def start(policy: BatchPolicy = FAST, **limits: float) -> AsyncIterator[Rig]:
        rig = Rig(folder / "events.sock", CollectorLimits(**limits), policy)  # type: ignore[arg-type]
        async with (
            asyncio.timeout(20),
            rig.storing.running(),
            collecting(rig.path, rig.collector, rig.storing, drain_seconds=1.0),
        ):
            yield rig

    return start


async def acknowledged(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(5):
        return decode_ack(await read_frame(reader, max_bytes=4096)).last_sequence


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_what_is_stored_is_acknowledged(rig: Start) -> None:
    async with rig() as it:
        reader, writer = await it.connect()
        with closing(writer):
            writer.write(frame(batch(1, 3)) + frame(batch(4, 2)))

            assert await acknowledged(reader) == 3
            assert await acknowledged(reader) == 5
            assert it.store.sequences == [1, 2, 3, 4, 5]
            assert it.store.batches == [batch(1, 3), batch(4, 2)]


async def test_nothing_is_acknowledged_before_the_store_has_it(rig: Start) -> None:
    async with rig() as it:
        it.store.gate.clear()
        reader, writer = await it.connect()
        with closing(writer):
            writer.write(frame(batch(1, 3)))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await read_frame(reader, max_bytes=4096)

            it.store.gate.set()

            assert await acknowledged(reader) == 3


async def test_a_write_that_fails_is_tried_until_it_works(rig: Start) -> None:
    async with rig() as it:
        it.store.break_down()
        reader, writer = await it.connect()
        with closing(writer):
            writer.write(frame(batch(1, 3)))
            while it.store.failures < 3:
                await asyncio.sleep(0.01)
            it.store.failing = ZeroDivisionError("a bug")
            while it.store.failures < 5:
                await asyncio.sleep(0.01)
            assert it.store.batches == []

            it.store.failing = None

            assert await acknowledged(reader) == 3
            assert it.store.sequences == [1, 2, 3]
            assert it.storing.counts.write_errors == it.store.failures


async def test_batches_that_come_together_are_written_together(rig: Start) -> None:
    async with rig(BatchPolicy(write_events=30, write_age_seconds=20.0)) as it:
        reader, writer = await it.connect()
        with closing(writer):
            for first in range(1, 30, 3):
                writer.write(frame(batch(first, 3)))
            for _ in range(10):
                await acknowledged(reader)

    assert it.store.writes == [10]


BROKEN = [
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
    pytest.param(LENGTH.pack(2**31), id="a batch larger than allowed"),
    pytest.param(LENGTH.pack(80) + b"\xff" * 80, id="noise"),
    pytest.param(LENGTH.pack(0), id="an empty batch"),
    pytest.param(LENGTH.pack(100) + b"abc", id="a batch that does not come"),
    pytest.param(frame(batch(1, 9)), id="more events than allowed"),
]


@pytest.mark.parametrize("data", BROKEN)
async def test_broken_input_ends_its_connection_alone(data: bytes, rig: Start) -> None:
    async with rig(batch_events=8, read_seconds=0.2) as it:
        good_reader, good = await it.connect()
        bad_reader, bad = await it.connect()
        with closing(good), closing(bad):
            good.write(frame(batch(1, 2)))
            bad.write(data)

            assert await is_closed(bad_reader)
            assert it.collector.counts.connections_broken == 1
            good.write(frame(batch(3, 2)))
            assert [await acknowledged(good_reader) for _ in range(2)] == [2, 4]


async def test_a_sink_that_leaves_in_the_middle_of_a_batch_leaves_no_part_of_it(
    rig: Start,
) -> None:
    async with rig() as it:
        _, writer = await it.connect()
        writer.write(frame(batch(1, 2)) + frame(batch(3, 2))[:-8])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        while not it.store.batches or it.collector.connections:
            await asyncio.sleep(0.01)

    assert it.store.sequences == [1, 2]
    assert it.collector.counts.connections_broken == 0


async def test_a_full_line_makes_sinks_wait(rig: Start) -> None:
    async with rig() as it:
        it.store.gate.clear()
        reader, writer = await it.connect()
        with closing(writer):
            for first in range(1, 1001, 10):
                writer.write(frame(batch(first, 10)))
            await asyncio.sleep(0.3)
            # one write of up to 20 events is under way, 20 are in line, one batch waits to join
            assert it.storing.waiting_events <= 20
            assert it.collector.counts.events <= 60

            it.store.gate.set()

            while await acknowledged(reader) < 1000:
                pass
            assert it.store.sequences == list(range(1, 1001))


async def test_connections_beyond_the_bound_are_refused(rig: Start) -> None:
    async with rig(connections=1) as it:
        reader, first = await it.connect()
        first.write(frame(batch(1, 1)))
        await acknowledged(reader)
        refused, second = await it.connect()
        with closing(first), closing(second):
            assert await is_closed(refused)
            assert it.collector.counts.connections_refused == 1


async def test_a_sink_that_reads_no_acknowledgements_is_cut_off(rig: Start) -> None:
    async with rig(unread_ack_bytes=0, batch_events=1) as it:
        _, writer = await it.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        with closing(writer):
            first = 1
            while it.collector.counts.connections_broken == 0:
                writer.write(frame(batch(first, 1)))
                first += 1
                await asyncio.sleep(0)


async def test_what_has_come_is_stored_on_leaving(rig: Start) -> None:
    async with rig(BatchPolicy(write_age_seconds=60)) as it:
        reader, writer = await it.connect()
        writer.write(frame(batch(1, 3)))
        while not it.storing.waiting_events:
            await asyncio.sleep(0.01)

    assert it.store.sequences == [1, 2, 3]
    assert await acknowledged(reader) == 3
    assert not it.path.exists()
    writer.close()


async def test_leaving_does_not_wait_for_ever_for_a_store_that_fails(
    rig: Start,
) -> None:
    async with rig() as it:
        it.store.break_down()
        reader, writer = await it.connect()
        for first in range(1, 101, 10):
            writer.write(frame(batch(first, 10)))
        while not it.store.failures:
            await asyncio.sleep(0.01)

    assert await is_closed(reader)
    assert it.collector.connections == 0
    writer.close()


def test_the_socket_is_its_owners_alone(folder: Path) -> None:
    path = folder / "events.sock"

    with closing(bind(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_whose_listener_is_gone_is_replaced(folder: Path) -> None:
    path = folder / "events.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))

    with closing(bind(path)) as listener:
        assert listener.getsockname() == str(path)


def test_a_socket_that_somebody_listens_on_is_left_alone(folder: Path) -> None:
    path = folder / "events.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        with pytest.raises(CannotListen, match="another process does"):
            bind(path)


def test_a_file_in_the_way_is_left_alone(folder: Path) -> None:
    path = folder / "events.sock"
    path.write_text("mine")

    with pytest.raises(CannotListen, match="or it is no socket"):
        bind(path)
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_says_so(folder: Path) -> None:
    with pytest.raises(CannotListen, match="longer than 107 bytes"):
        bind(folder / ("x" * 120))


def test_a_folder_that_is_not_there_says_so(folder: Path) -> None:
    with pytest.raises(CannotListen, match="No such file"):
        bind(folder / "absent" / "events.sock")
