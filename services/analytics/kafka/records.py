"""Events as Kafka's records, and records as batches.

A record's value is the event's Cap'n Proto message (libs/common/events/event.capnp),
which carries its identity; its key is the account, so that what is of one account
stays in order. Lifecycle events have no account: their key is the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from libs.common.events.codec import encode
from libs.common.events.values import Batch, Event, InferenceEvent, Recorded

Record = tuple[bytes, bytes]  # key and value


def keyed(batches: Iterable[Batch]) -> Iterator[tuple[bytes, Event, bytes]]:
    """Yield key, event and value of every event; those of an unknown kind are left out."""
    for batch in batches:
        for sequence, event in enumerate(batch.events, batch.first_sequence):
            if event is None:
                continue
            key = event.account_id if isinstance(event, InferenceEvent) else batch.server
            value = encode(
                event, server=batch.server, boot_epoch=batch.boot_epoch, sequence=sequence
            )
            yield key.encode("utf-8", "replace"), event, value


def batches_of(records: Iterable[Recorded], partition: str) -> Iterator[Batch]:
    """Yield the events of one partition in their order, as batches of consecutive sequences."""
    run: list[Recorded] = []
    for record in records:
        if run and not _follows(record, run[-1]):
            yield _batch(run, partition)
            run = []
        run.append(record)
    if run:
        yield _batch(run, partition)


def _follows(record: Recorded, last: Recorded) -> bool:
    return (record.server, record.boot_epoch, record.sequence) == (
        last.server,
        last.boot_epoch,
        last.sequence + 1,
    )


def _batch(run: Sequence[Recorded], partition: str) -> Batch:
    first = run[0]
    return Batch(
        server=first.server,
        boot_epoch=first.boot_epoch,
        first_sequence=first.sequence,
        events=tuple(record.event for record in run),
        partition=partition,
    )
