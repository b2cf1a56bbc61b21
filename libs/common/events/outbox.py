"""What a sink holds until the collector has it: loose events, then sealed batches.

Synchronous and without I/O. Events are numbered when they are sealed, so the
sequence has no gaps, whatever was dropped before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from libs.common.events.codec import encode
from libs.common.events.framing import MAX_SERVER, encode_batch
from libs.common.events.values import Event


@dataclass(frozen=True, slots=True)
class Slot:
    """A sealed batch."""

    last_sequence: int
    frame: bytes


class Outbox:
    """Bounded: at most `slots` batches, and `pending_events` that are not in one yet."""

    def __init__(
        self,
        *,
        server: str,
        boot_epoch: int,
        slots: int,
        batch_events: int,
        batch_bytes: int,
        pending_events: int,
    ) -> None:
        if not 0 < len(server) <= MAX_SERVER:
            raise ValueError(f"a server's name has 1 to {MAX_SERVER} characters, not {len(server)}")
        self._server = server
        self._boot_epoch = boot_epoch
        self._max_slots = slots
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._max_pending = pending_events
        self._loose: deque[Event] = deque()
        self._slots: deque[Slot] = deque()
        self.sealed = 0  # the last sequence given out
        self.acknowledged = 0  # the last sequence that the collector has

    def __repr__(self) -> str:
        return (
            f"<Outbox pending={self.pending}/{self._max_pending}"
            f" slots={len(self._slots)}/{self._max_slots}"
            f" sealed={self.sealed} acknowledged={self.acknowledged}>"
        )

    @property
    def pending(self) -> int:
        """Return how many events are in no batch yet."""
        return len(self._loose)

    @property
    def unacknowledged(self) -> int:
        """Return how many events are sealed and not acknowledged."""
        return self.sealed - self.acknowledged

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Return the batches that wait for their acknowledgement, oldest first."""
        return tuple(self._slots)

    def add(self, event: Event) -> bool:
        """Take the event; return False when everything is full."""
        if len(self._loose) >= self._max_pending:
            return False
        self._loose.append(event)
        return True

    def seal(self) -> Slot | None:
        """Move the oldest pending events into a slot, if that is worth one.

        From half of the slots on only a full batch is: a collector that is slow
        gets fewer and larger batches, and the slots hold many more events.
        """
        used = len(self._slots)
        scarce = 2 * used >= self._max_slots and self.pending < self._batch_events
        if used >= self._max_slots or scarce:
            return None
        return self.seal_now()

    def seal_now(self) -> Slot | None:
        """Move the oldest pending events into a slot, even past the bound: the last act."""
        if not self._loose:
            return None
        messages: list[bytes] = []
        size = 0
        for event in islice(self._loose, self._batch_events):
            message = encode(
                event,
                server=self._server,
                boot_epoch=self._boot_epoch,
                sequence=self.sealed + len(messages) + 1,
            )
            messages.append(message)
            size += len(message)
            if size >= self._batch_bytes:
                break
        frame = encode_batch(
            messages,
            server=self._server,
            boot_epoch=self._boot_epoch,
            first_sequence=self.sealed + 1,
        )
        for _ in messages:
            self._loose.popleft()
        self.sealed += len(messages)
        slot = Slot(self.sealed, frame)
        self._slots.append(slot)
        return slot

    def acknowledge(self, last_sequence: int) -> int:
        """Let go of what the collector has; return how many events that were."""
        if last_sequence > self.sealed:
            raise ValueError(f"acknowledged {last_sequence} of {self.sealed} events")
        while self._slots and self._slots[0].last_sequence <= last_sequence:
            self._slots.popleft()
        gained = max(last_sequence - self.acknowledged, 0)
        self.acknowledged += gained
        return gained
