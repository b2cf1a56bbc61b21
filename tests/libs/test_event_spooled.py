"""An outbox with a real spool, whatever happens to it: nothing is lost, doubled or out of order.

The collector, the link to it and the moments of a kill are a model; the files are real.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from libs.common.events.framing import LENGTH, decode_batch
from libs.common.events.outbox import Outbox, Slot
from libs.common.events.spool import Spool, SpoolConfig
from libs.common.events.values import Ack, Batch, Boot, LifecycleEvent

SHORT = settings(max_examples=40, stateful_step_count=40, deadline=None)
LONG = settings(max_examples=800, stateful_step_count=100, deadline=None)
BOUNDS = SpoolConfig(most_bytes=6000, segment_bytes=1200)
SLOTS, BATCH, PENDING = 3, 4, 10


def ids(batch: Batch) -> list[int]:
    """What tells the events of a batch apart."""
    return [each.begin_ts for each in batch.events if isinstance(each, LifecycleEvent)]


def decoded(frame: bytes) -> Batch:
    return decode_batch(frame[LENGTH.size :], max_events=100)


class Collector:
    """Stores as DuckDB does: what is not above a boot's watermark is there already."""

    def __init__(self) -> None:
        self.watermarks: dict[Boot, int] = {}
        self.stored: list[int] = []

    def take(self, frame: bytes) -> Ack:
        batch = decoded(frame)
        boot = (batch.server, batch.boot_epoch)
        seen = self.watermarks.get(boot, 0)
        for sequence, number in enumerate(ids(batch), batch.first_sequence):
            if sequence > seen:
                self.stored.append(number)
        self.watermarks[boot] = max(seen, batch.last_sequence)
        return Ack(
            server=batch.server, boot_epoch=batch.boot_epoch, last_sequence=batch.last_sequence
        )


class Disk:
    """Stands in for `os` in the spool: the real one, until `trouble` says what is refused."""

    fstat, close = staticmethod(os.fstat), staticmethod(os.close)
    O_WRONLY, O_APPEND, O_CREAT = os.O_WRONLY, os.O_APPEND, os.O_CREAT
    O_EXCL, O_TRUNC = os.O_EXCL, os.O_TRUNC

    def is_new(self) -> None:
        self.trouble = ""
        self.kept = set[Path]()  # that could not be removed

    def open(self, path: Path, flags: int, mode: int) -> int:
        if self.trouble == "no files":
            raise OSError(errno.ENOSPC, "no space left on device")
        return os.open(path, flags, mode)

    def writev(self, file: int, parts: tuple[bytes, bytes]) -> int:
        if self.trouble == "no bytes":
            raise OSError(errno.ENOSPC, "no space left on device")
        is_cut = self.trouble in ("half a write", "nothing is undone")
        return os.writev(file, parts[:1] if is_cut else parts)

    def ftruncate(self, file: int, size: int) -> None:
        if self.trouble == "nothing is undone":
            raise OSError(errno.EIO, "input/output error")
        os.ftruncate(file, size)

    def remove(self, path: Path) -> None:
        if self.trouble == "nothing is undone":
            self.kept.add(path)
        else:
            path.unlink(missing_ok=True)


TROUBLES = ("no bytes", "no files", "half a write", "nothing is undone")


class SpooledOutbox(RuleBasedStateMachine):
    """Every event that was taken is stored once, but for those that a kill may lose."""

    disk = Disk()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cstspool")
        self.root = Path(self.folder.name)
        self.disk.is_new()
        self.collector = Collector()
        self.link: deque[bytes] | None = None  # frames under way
        self.acks: deque[Ack] = deque()
        self.epoch = 0
        self.emitted = self.dropped = 0
        self.taken: list[int] = []
        self.lost: set[int] = set()  # that a kill found in memory alone

    @initialize()
    def boot(self) -> None:
        self.epoch += 1
        self.spool = Spool(self.root, server="ams-0", config=BOUNDS)
        epoch = self.spool.begin(self.spool.prepare(self.epoch))
        assert epoch == self.epoch
        self.box = Outbox(
            server="ams-0",
            boot_epoch=epoch,
            slots=SLOTS,
            batch_events=BATCH,
            batch_bytes=1 << 20,
            pending_events=PENDING,
            shelf=self.spool,
        )

    @rule(count=st.integers(1, 9))
    def emit(self, count: int) -> None:
        for _ in range(count):
            self.emitted += 1
            if self.box.add(LifecycleEvent(begin_ts=self.emitted)):
                self.taken.append(self.emitted)
            else:
                self.dropped += 1

    @rule()
    def seal(self) -> None:
        before, must = self.box.sealed, self.box.pending and self.spool.has_room
        self.send(self.box.seal())
        if must and not self.disk.trouble:
            assert self.box.sealed > before

    @rule(trouble=st.sampled_from(TROUBLES))
    def the_disk_refuses(self, trouble: str) -> None:
        self.disk.trouble = trouble

    @rule()
    def the_disk_is_well(self) -> None:
        self.disk.trouble = ""

    @rule()
    def a_moment_passes(self) -> None:
        self.spool._retry_at = 0.0

    def send(self, slot: Slot | None) -> None:
        if slot is not None and self.link is not None:
            self.link.append(slot.frame)

    @precondition(lambda self: self.link is None)
    @rule()
    def connect(self) -> None:
        self.link = deque(slot.frame for slot in self.box.slots)

    @precondition(lambda self: self.link is not None)
    @rule()
    def disconnect(self) -> None:
        self.link = None
        self.acks.clear()

    @precondition(lambda self: self.link)
    @rule()
    def collect(self) -> None:
        assert self.link is not None
        self.acks.append(self.collector.take(self.link.popleft()))

    @precondition(lambda self: self.acks)
    @rule()
    def acknowledge(self) -> None:
        self.box.acknowledge(self.acks.popleft())

    @precondition(lambda self: self.link is not None)
    @rule()
    def replay(self) -> None:
        look = self.spool.look(most_events=2 * BATCH, most_bytes=1 << 20)
        if look is not None and self.box.has_free_slot:
            chunk = look.read()
            self.spool.found(look, chunk)
            self.send(self.box.replay(look.folder.boot, chunk))

    @rule()
    def interval(self) -> None:
        self.spool.unsynced()

    @rule(tail=st.binary(max_size=30))
    def kill(self, tail: bytes) -> None:
        in_memory = [event.begin_ts for event in self.box._loose]  # type: ignore[union-attr]
        for slot in self.box.slots:
            if not slot.is_kept:
                in_memory += ids(decoded(slot.frame))
        assert len(in_memory) == self.box.unkept
        self.lost |= set(in_memory)
        for folder in self.spool._folders():
            folder.close()
        if tail and (segments := sorted(self.root.rglob("*.events"))):
            with segments[-1].open("ab") as file:  # a write that the kill has cut short
                file.write(tail)
        self.link = None
        self.acks.clear()
        self.disk.trouble = ""
        self.boot()

    @invariant()
    def the_bounds_are_kept(self) -> None:
        if not hasattr(self, "box"):
            return
        assert self.box.pending <= PENDING
        assert len(self.box.slots) <= SLOTS
        assert self.spool.bytes <= BOUNDS.most_bytes + 1000  # the last batch
        on_disk = sum(path.stat().st_size for path in self.root.rglob("*.events"))
        assert self.spool.bytes <= on_disk

    @invariant()
    def what_is_stored_is_stored_once(self) -> None:
        stored = self.collector.stored
        assert len(stored) == len(set(stored))
        assert stored == sorted(stored)

    def teardown(self) -> None:
        try:
            self.check_that_all_arrives()
        finally:
            self.folder.cleanup()

    def check_that_all_arrives(self) -> None:
        if not hasattr(self, "box"):
            return
        self.the_disk_is_well()
        self.a_moment_passes()
        if self.link is None:
            self.connect()
        self.acks.clear()
        self.link = deque(slot.frame for slot in self.box.slots)
        while self.box.pending or self.box.sent or self.spool.has_unread:
            self.seal()
            self.replay()
            while self.link:
                self.collect()
            while self.acks:
                self.acknowledge()
        self.what_is_stored_is_stored_once()
        stored = set(self.collector.stored)
        assert stored <= set(self.taken)
        assert set(self.taken) - stored <= self.lost
        assert self.emitted == len(self.taken) + self.dropped
        assert self.spool.unread_events == 0
        self.spool.close()
        assert set(self.root.rglob("*.events")) <= self.disk.kept
        assert self.disk.kept or list(self.root.iterdir()) == []


@pytest.fixture(autouse=True)
def _disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.events.spool.os", SpooledOutbox.disk)
    monkeypatch.setattr("libs.common.events.spool._remove", SpooledOutbox.disk.remove)


def test_a_disk_that_has_room_again_is_written_to_again() -> None:
    machine = SpooledOutbox()
    machine.boot()
    for _ in range(SLOTS + 1):
        machine.emit(BATCH)
        machine.seal()
    assert machine.spool.has_unread
    for trouble in (*TROUBLES, *TROUBLES):
        machine.the_disk_refuses(trouble)
        machine.emit(1)
        machine.seal()
        machine.a_moment_passes()

    machine.the_disk_is_well()
    machine.seal()

    assert machine.spool.counts.errors == 2 * len(TROUBLES)
    machine.teardown()
    assert machine.dropped == 0


def test_whatever_happens_every_event_is_stored_once() -> None:
    run_state_machine_as_test(SpooledOutbox, settings=SHORT)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_whatever_happens_for_long_every_event_is_stored_once() -> None:
    run_state_machine_as_test(SpooledOutbox, settings=LONG)
