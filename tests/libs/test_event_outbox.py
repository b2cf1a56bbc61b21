"""The outbox: numbers without gaps, bounded slots, and acknowledgements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.framing import LENGTH, decode_batch
from libs.common.events.outbox import Outbox
from libs.common.events.values import Ack, LifecycleEvent


def outbox(**changes: int) -> Outbox:
    bounds = {"slots": 4, "batch_events": 10, "batch_bytes": 1 << 20, "pending_events": 20}
    return Outbox(server="ams-0", boot_epoch=1, **(bounds | changes))


def ack(last_sequence: int) -> Ack:
    return Ack(server="ams-0", boot_epoch=1, last_sequence=last_sequence)


def add(box: Outbox, count: int, first: int = 1) -> int:
    """Add events, whose begin_ts tells them apart; return how many were taken."""
    return sum(box.add(LifecycleEvent(begin_ts=number)) for number in range(first, first + count))


def test_a_sealed_batch_continues_the_numbers_of_the_one_before() -> None:
    box = outbox()
    add(box, 3)
    box.seal()
    add(box, 2)

    slot = box.seal()

    assert slot is not None
    batch = decode_batch(slot.frame[LENGTH.size :], max_events=10)
    assert (batch.first_sequence, batch.last_sequence) == (4, 5)


def test_nothing_to_seal_takes_no_slot() -> None:
    assert outbox().seal() is None


def test_from_half_of_the_slots_on_only_full_batches_are_sealed() -> None:
    box = outbox(slots=4)
    for _ in range(2):
        add(box, 1)
        assert box.seal()
    add(box, 9)

    assert box.seal() is None
    add(box, 1)
    assert box.seal()


def test_a_full_outbox_refuses_and_the_numbers_stay_without_gaps() -> None:
    box = outbox(slots=1, pending_events=5)
    add(box, 10)
    box.seal()
    assert add(box, 9, first=100) == 5

    assert box.seal() is None
    box.acknowledge(ack(5))

    slot = box.seal()
    assert slot is not None
    assert slot.last_sequence == 10


def test_a_batch_ends_where_its_bytes_do() -> None:
    box = outbox(batch_bytes=1)
    add(box, 3)

    slot = box.seal()

    assert slot is not None
    assert slot.last_sequence == 1
    assert box.pending == 2


def test_an_acknowledgement_frees_the_slots_up_to_it() -> None:
    box = outbox()
    for _ in range(2):
        add(box, 2)
        box.seal()

    assert box.acknowledge(ack(3)) == 2  # of whole batches
    assert [slot.last_sequence for slot in box.slots] == [4]
    assert box.acknowledge(ack(2)) == 0
    assert box.acknowledge(ack(4)) == 2
    assert box.acknowledge(ack(4)) == 0
    assert repr(box) == "<Outbox pending=0/20 slots=0/4 sealed=4 acknowledged=4>"


@pytest.mark.parametrize(
    "wrong",
    [
        Ack(server="ams-0", boot_epoch=1, last_sequence=3),
        Ack(server="ams-0", boot_epoch=2, last_sequence=1),
        Ack(server="lhr-0", boot_epoch=1, last_sequence=1),
    ],
    ids=["more", "another boot", "another server"],
)
def test_an_acknowledgement_of_what_was_never_sent_is_refused(wrong: Ack) -> None:
    box = outbox()
    add(box, 2)
    box.seal()

    with pytest.raises(ValueError, match="acknowledge"):
        box.acknowledge(wrong)
    assert box.unacknowledged == 2


@pytest.mark.parametrize("name", ["", "x" * 129], ids=["empty", "long"])
def test_a_server_has_a_name_of_bounded_length(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 128"):
        Outbox(server=name, boot_epoch=1, slots=1, batch_events=1, batch_bytes=1, pending_events=1)


@given(
    st.lists(st.one_of(st.integers(1, 30), st.just("seal"), st.just("acknowledge")), max_size=40)
)
def test_whatever_happens_events_stay_in_order_and_within_the_bounds(
    steps: list[int | str],
) -> None:
    box = outbox()
    taken: list[int] = []
    sent: list[int] = []
    number = 0
    for step in steps:
        if isinstance(step, int):
            for _ in range(step):
                number += 1
                if box.add(LifecycleEvent(begin_ts=number)):
                    taken.append(number)
        elif step == "acknowledge":
            if box.sealed:
                box.acknowledge(ack(box.sealed))
        elif (slot := box.seal()) is not None:
            batch = decode_batch(slot.frame[LENGTH.size :], max_events=10)
            assert batch.first_sequence == len(sent) + 1
            sent += [each.begin_ts for each in batch.events if isinstance(each, LifecycleEvent)]
        assert len(box.slots) <= 4
        assert box.pending <= 20

    assert sent == taken[: len(sent)]
    assert len(sent) + box.pending == len(taken)
