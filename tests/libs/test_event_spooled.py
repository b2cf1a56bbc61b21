"""An outbox with a real spool, whatever happens to it: nothing is lost, doubled or out of order.

The collector, the link to it and the moments of a kill are a model; the files are real.
"""

from __future__ import annotations

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


class SpooledOutbox(RuleBasedStateMachine):
    """Every event that was taken is stored once, but for those that a kill may lose."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cstspool")
        self.root = Path(self.folder.name)
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
        self.send(self.box.seal())

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
        if not hasattr(self, "box"):
            return
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
        assert list(self.root.iterdir()) == []
        self.folder.cleanup()


def test_whatever_happens_every_event_is_stored_once() -> None:
    run_state_machine_as_test(SpooledOutbox, settings=SHORT)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_whatever_happens_for_long_every_event_is_stored_once() -> None:
    run_state_machine_as_test(SpooledOutbox, settings=LONG)
