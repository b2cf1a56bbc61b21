"""Records and batches: nothing is lost on the way, and what is repeated is kept once."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.codec import decode
from libs.common.events.values import Batch, LifecycleEvent, Recorded
from services.analytics.kafka.records import batches_of, keyed
from services.analytics.stores.columns import Source, fresh
from tests.analytics.support import batch, event

ACCOUNTS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40)


def recorded(*sequences: int, server: str = "ams-0", boot_epoch: int = 1) -> list[Recorded]:
    return [
        Recorded(server=server, boot_epoch=boot_epoch, sequence=each, event=event(each))
        for each in sequences
    ]


def test_the_key_is_the_account_and_for_lifecycle_events_the_server() -> None:
    mixed = Batch(
        server="ams-0",
        boot_epoch=1,
        first_sequence=5,
        events=(event(5, account_id="a\ud800"), None, LifecycleEvent(begin_ts=1)),
    )

    found = [(key, decode(value).sequence) for key, _, value in keyed([mixed])]

    assert found == [(b"a?", 5), (b"ams-0", 7)]


def test_a_batch_is_a_run_of_one_boot() -> None:
    records = [
        *recorded(1, 2, 3),
        *recorded(7, 8),
        *recorded(9, server="lhr-0"),
        *recorded(10, boot_epoch=2),
        *recorded(10, 11),
    ]

    found = list(batches_of(records, "events/3"))

    assert [
        (each.server, each.boot_epoch, each.first_sequence, len(each.events)) for each in found
    ] == [
        ("ams-0", 1, 1, 3),
        ("ams-0", 1, 7, 2),
        ("lhr-0", 1, 9, 1),
        ("ams-0", 2, 10, 1),
        ("ams-0", 1, 10, 2),
    ]
    assert {each.partition for each in found} == {"events/3"}
    assert list(batches_of([], "events/3")) == []


@given(ACCOUNTS, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=6), st.data())
def test_what_is_written_again_after_a_failure_is_kept_once(
    accounts: list[str], failures: list[tuple[int, int]], data: st.DataObject
) -> None:
    """A partition has any prefix of what a failed write had for it, and then all of it again."""
    parts: dict[int, list[int]] = defaultdict(list)
    for sequence, account in enumerate(accounts, 1):
        parts[ord(account) % 3].append(sequence)
    log: dict[int, list[int]] = defaultdict(list)
    acknowledged = 0
    for upto, landed in failures:
        for number, part in parts.items():
            tried = [each for each in part if acknowledged < each <= upto]
            log[number] += tried[: data.draw(st.integers(0, landed))]
    for number, part in parts.items():
        log[number] += [each for each in part if each > acknowledged]

    watermarks: dict[Source, int] = {}
    kept: list[int] = []
    for number, sequences in log.items():
        while sequences:
            size = data.draw(st.integers(1, len(sequences)))
            come, sequences = sequences[:size], sequences[size:]
            new = fresh(batches_of(recorded(*come), f"events/{number}"), watermarks)
            kept += [sequence for _, _, sequence, _ in new.rows]
            watermarks |= new.watermarks

    assert sorted(kept) == list(range(1, len(accounts) + 1))


def test_a_round_trip_keeps_every_event() -> None:
    found = [decode(value) for _, _, value in keyed([batch(1, 50)])]

    (again,) = batches_of(found, "")

    assert again == batch(1, 50)
