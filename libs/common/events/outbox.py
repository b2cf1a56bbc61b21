"""What a sink holds until the collector has it: loose events, then sealed batches.

Synchronous and without I/O of its own. Events are numbered when they are sealed, so the
sequence has no gaps, whatever was dropped before. Each sealed batch goes to the spool; the
first ones are in memory, too, in slots, and are what is sent. What finds no free slot, or
others before it that have none, is read again from the spool when its turn has come.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from libs.common.events.codec import encode
from libs.common.events.framing import MAX_SERVER, body_of, encode_batch
from libs.common.events.occurrences import Occurrence
from libs.common.events.spool_records import Chunk
from libs.common.events.values import Ack, Boot, Event


@dataclass(frozen=True, slots=True)
class Slot:
    """A sealed batch that is sent, or will be as soon as there is a connection."""

    boot: Boot
    last_sequence: int
    events: int
    frame: bytes
    is_kept: bool = False  # by the spool, too


class Shelf(Protocol):
    """What an outbox asks of a spool."""

    @property
    def has_room(self) -> bool: ...
    @property
    def has_unread(self) -> bool: ...
    def append(
        self, body: bytes | memoryview, *, first_sequence: int, events: int, is_read: bool
    ) -> bool: ...
    def release(self, boot: Boot, last_sequence: int) -> None: ...


class NoShelf:
    """No spool: what is sealed is in memory alone."""

    has_room = False
    has_unread = False

    def append(
        self, body: bytes | memoryview, *, first_sequence: int, events: int, is_read: bool
    ) -> bool:
        """Refuse."""
        return False

    def release(self, boot: Boot, last_sequence: int) -> None:
        """Do nothing."""


class Outbox:
    """Bounded: `slots` batches in memory, `pending_events` in none yet, the shelf's own bound."""

    def __init__(
        self,
        *,
        server: str,
        boot_epoch: int,
        slots: int,
        batch_events: int,
        batch_bytes: int,
        pending_events: int,
        shelf: Shelf | None = None,
    ) -> None:
        if not 0 < len(server) <= MAX_SERVER:
            raise ValueError(f"a server's name has 1 to {MAX_SERVER} characters, not {len(server)}")
        self.boot: Boot = (server, boot_epoch)  # to be changed only before the first is sealed
        self._max_slots = slots
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._max_pending = pending_events
        self._shelf: Shelf = NoShelf() if shelf is None else shelf
        self._loose: deque[Event | Occurrence] = deque()
        self._slots: deque[Slot] = deque()
        self._done: dict[Boot, int] = {}  # the last sequence that the collector has, of each boot
        self.sealed = 0  # the last sequence given out
        self.sent = 0  # events in the slots

    def __repr__(self) -> str:
        return (
            f"<Outbox pending={self.pending}/{self._max_pending}"
            f" slots={len(self._slots)}/{self._max_slots}"
            f" sealed={self.sealed} acknowledged={self.acknowledged}>"
        )

    @property
    def acknowledged(self) -> int:
        """Return the last sequence of this boot that the collector has."""
        return self._done.get(self.boot, 0)

    @property
    def pending(self) -> int:
        """Return how many events are in no batch yet."""
        return len(self._loose)

    @property
    def unacknowledged(self) -> int:
        """Return how many events of this boot are sealed and not acknowledged."""
        return self.sealed - self.acknowledged

    @property
    def unkept(self) -> int:
        """Return how many events would be lost with this process."""
        return self.pending + sum(slot.events for slot in self._slots if not slot.is_kept)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Return the batches in memory that wait for their acknowledgement, oldest first."""
        return tuple(self._slots)

    @property
    def has_free_slot(self) -> bool:
        """Whether another batch may be sent."""
        return len(self._slots) < self._max_slots

    def add(self, event: Event | Occurrence) -> bool:
        """Take the event; return False when everything is full."""
        if len(self._loose) >= self._max_pending:
            return False
        self._loose.append(event)
        return True

    def seal(self) -> Slot | None:
        """Make a batch of the oldest pending events, if there is room; return it if it is sent now.

        Without room in the spool, only a full batch takes one of the last half of the slots: a
        collector that is slow gets fewer and larger ones, and the slots hold many more events.
        """
        is_next = self.has_free_slot and not self._shelf.has_unread
        if not self._shelf.has_room:
            scarce = 2 * len(self._slots) >= self._max_slots and self.pending < self._batch_events
            if scarce or not is_next:
                return None
        return self._seal(is_next)

    def seal_now(self) -> Slot | None:
        """As `seal`, even past the bound of the slots: the last act."""
        is_next = not self._shelf.has_unread
        return self._seal(is_next) if is_next or self._shelf.has_room else None

    def replay(self, boot: Boot, chunk: Chunk) -> Slot | None:
        """Put what was read from the spool into a slot, to be sent; None if it is nothing."""
        if not chunk.events:
            return None
        frame = encode_batch(
            chunk.bodies,
            server=boot[0],
            boot_epoch=boot[1],
            first_sequence=chunk.first_sequence,
            count=chunk.events,
        )
        slot = Slot(boot, chunk.last_sequence, chunk.events, frame, is_kept=True)
        self._put(slot)
        return slot

    def acknowledge(self, ack: Ack) -> int:
        """Let go of what the collector has; return how many events that were."""
        boot: Boot = (ack.server, ack.boot_epoch)
        sent = [slot.last_sequence for slot in self._slots if slot.boot == boot]
        done = self._done.get(boot, 0)
        if boot not in self._done and not sent:
            raise ValueError(f"an acknowledgement for {boot!r}")
        if ack.last_sequence > max(sent, default=done):
            raise ValueError(f"acknowledged {ack.last_sequence} of {max(sent, default=done)} sent")
        gained = 0
        rest: deque[Slot] = deque()
        for slot in self._slots:
            if slot.boot == boot and slot.last_sequence <= ack.last_sequence:
                gained += slot.events
                self._done[boot] = slot.last_sequence
            else:
                rest.append(slot)
        if gained:
            self._slots = rest
            self.sent -= gained
            self._shelf.release(boot, self._done[boot])
        return gained

    def _seal(self, is_next: bool) -> Slot | None:
        if not self._loose:
            return None
        messages = self._encoded()
        first, last = self.sealed + 1, self.sealed + len(messages)
        server, boot_epoch = self.boot
        frame = encode_batch(messages, server=server, boot_epoch=boot_epoch, first_sequence=first)
        is_kept = self._shelf.has_room and self._shelf.append(
            body_of(frame), first_sequence=first, events=len(messages), is_read=is_next
        )
        if not is_kept and not is_next:
            return None
        for _ in messages:
            self._loose.popleft()
        self.sealed = last
        if not is_next:
            return None
        slot = Slot(self.boot, last, len(messages), frame, is_kept)
        self._put(slot)
        return slot

    def _put(self, slot: Slot) -> None:
        self._slots.append(slot)
        self.sent += slot.events

    def _encoded(self) -> list[bytes]:
        """Return the messages of the next batch."""
        server, boot_epoch = self.boot
        messages: list[bytes] = []
        size = 0
        for event in islice(self._loose, self._batch_events):
            message = encode(
                event,
                server=server,
                boot_epoch=boot_epoch,
                sequence=self.sealed + len(messages) + 1,
            )
            messages.append(message)
            size += len(message)
            if size >= self._batch_bytes:
                break
        return messages
