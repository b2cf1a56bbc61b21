"""The spool: what was appended is read again, whatever has become of its files meanwhile."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.spool import Spool, SpoolConfig, sync
from libs.common.events.spool_records import HEAD, Chunk, count_events, head_of, read_chunk
from libs.common.events.values import Boot

SMALL = SpoolConfig(most_bytes=4096, segment_bytes=400)


def spool(root: Path, *, server: str = "ams-0", epoch: int = 1, **bounds: int) -> Spool:
    config = SpoolConfig(**bounds) if bounds else SMALL
    made = Spool(root, server=server, config=config)
    made.begin(made.prepare(epoch))
    return made


def append(box: Spool, first: int, events: int = 1, *, is_read: bool = False) -> bool:
    """Append a batch whose body tells its sequences."""
    return box.append(body(first, events), first_sequence=first, events=events, is_read=is_read)


def body(first: int, events: int = 1) -> bytes:
    return b"".join(b"event %8d|" % sequence for sequence in range(first, first + events))


def read_all(box: Spool, *, most_events: int = 512) -> list[tuple[Boot, int, int]]:
    """Read to the end; return whose events were found, and from where to where."""
    found = []
    while (look := box.look(most_events=most_events, most_bytes=1 << 20)) is not None:
        chunk = look.read()
        box.found(look, chunk)
        if chunk.events:
            assert b"".join(chunk.bodies) == body(chunk.first_sequence, chunk.events)
            found.append((look.folder.boot, chunk.first_sequence, chunk.last_sequence))
    return found


def kill(box: Spool) -> None:
    """What a kill -9 leaves: the files as they are, and no locks."""
    for folder in box._folders():
        folder.close()


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_small_batches_are_read_as_one(tmp_path: Path) -> None:
    box = spool(tmp_path, most_bytes=1 << 20)
    for first in range(1, 11):
        append(box, first)

    assert box.unread_events == 10
    assert read_all(box, most_events=7) == [(("ams-0", 1), 1, 7), (("ams-0", 1), 8, 10)]
    assert box.unread_events == 0
    assert box.counts.replayed == 10


def test_batches_with_a_gap_between_them_stay_apart(tmp_path: Path) -> None:
    box = spool(tmp_path, most_bytes=1 << 20)
    append(box, 1, 2)
    append(box, 5, 2)

    assert [(first, last) for _, first, last in read_all(box)] == [(1, 2), (5, 6)]


def test_a_batch_larger_than_the_bounds_is_read_alone(tmp_path: Path) -> None:
    box = spool(tmp_path, most_bytes=1 << 20)
    append(box, 1, 5)
    append(box, 6)

    assert [last for _, _, last in read_all(box, most_events=2)] == [5, 6]


def test_segments_go_when_they_are_acknowledged(tmp_path: Path) -> None:
    box = spool(tmp_path)
    for first in range(1, 41):
        append(box, first, is_read=True)
    several = len(files(tmp_path))
    assert several > 3
    assert box.bytes == sum(path.stat().st_size for path in files(tmp_path))

    box.release(("ams-0", 1), 20)
    assert 1 < len(files(tmp_path)) < several
    box.release(("ams-0", 1), 40)

    assert len(files(tmp_path)) == 1  # it is still written to
    assert not box.unsynced()
    assert not box.unsynced()
    assert box.bytes == files(tmp_path)[0].stat().st_size == 0


def test_nothing_is_left_of_a_spool_whose_events_are_all_acknowledged(tmp_path: Path) -> None:
    box = spool(tmp_path)
    append(box, 1, is_read=True)
    box.release(("ams-0", 1), 1)
    box.close()

    assert list(tmp_path.iterdir()) == []


def test_beyond_its_bound_there_is_no_room_until_something_is_acknowledged(tmp_path: Path) -> None:
    box, first = spool(tmp_path, most_bytes=1000), 1
    while box.has_room:
        assert append(box, first, is_read=True)
        first += 1
    assert 1000 <= box.bytes < 1000 + HEAD.size + len(body(1))

    box.release(("ams-0", 1), first - 1)

    assert box.has_room
    assert box.bytes < 300  # of the segment that is written to


def test_what_earlier_boots_have_left_is_read_first_and_then_removed(tmp_path: Path) -> None:
    for epoch in (9, 10):
        box = spool(tmp_path, epoch=epoch)
        for first in (1, 2, 3):
            append(box, first, is_read=True)
        kill(box)

    box = spool(tmp_path, epoch=11)
    append(box, 1)

    assert box.unread_events == 10 - 3  # of epoch 9 three, of epoch 10 three, and one
    boots = [boot for boot, _, _ in read_all(box)]
    assert boots == [("ams-0", 9), ("ams-0", 10), ("ams-0", 11)]
    box.release(("ams-0", 9), 3)
    box.release(("ams-0", 10), 2)
    assert [path.name for path in (tmp_path / "ams-0").iterdir()] != ["11"]
    box.release(("ams-0", 10), 3)
    assert [path.name for path in (tmp_path / "ams-0").iterdir()] == ["11"]


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    first = spool(tmp_path, epoch=5)
    append(first, 1)
    second = spool(tmp_path, epoch=5)  # the same server at the same moment: it cannot be
    append(second, 1)

    assert [boot for boot, _, _ in read_all(second)] == [("ams-0", 6)]
    assert [boot for boot, _, _ in read_all(first)] == [("ams-0", 5)]


def test_what_a_server_left_that_never_came_back_is_taken_by_another(tmp_path: Path) -> None:
    gone, alive = spool(tmp_path, server="../ams/0"), spool(tmp_path, server="ams-1")
    append(gone, 1, 2)
    assert alive.abandoned() == []  # it lives
    kill(gone)

    alive.adopt(alive.abandoned())

    assert read_all(alive) == [(("../ams/0", 1), 1, 2)]
    assert list(tmp_path.parent.glob("ams*")) == []


def test_what_others_left_takes_no_room_from_ones_own(tmp_path: Path) -> None:
    gone, alive = spool(tmp_path, server="ams-0"), spool(tmp_path, server="ams-1")
    first = 1
    while gone.has_room:
        append(gone, first)
        first += 1
    kill(gone)
    append(alive, 1)
    own = alive.bytes

    alive.adopt(alive.abandoned())

    assert alive.has_room
    assert alive.bytes == own + gone.bytes
    read_all(alive)
    alive.release(("ams-0", 1), first)
    assert alive.bytes == own
    again = spool(tmp_path, server="ams-1", epoch=2, most_bytes=own)
    assert again.has_room
    kill(alive)
    assert spool(tmp_path, server="ams-1", epoch=3, most_bytes=own).has_room is False


def test_what_waits_for_an_interval_is_brought_to_the_disk(tmp_path: Path) -> None:
    box = spool(tmp_path)
    append(box, 1)
    assert not box.unsynced()  # it is new
    append(box, 2)

    due = box.unsynced()

    assert list(due) == files(tmp_path)
    sync(due)
    assert not box.unsynced()
    sync([tmp_path / "gone.events"])


def test_a_disk_that_refuses_is_left_alone_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = spool(tmp_path)
    (tmp_path / "ams-0" / "1").chmod(0o500)
    (tmp_path / "ams-0" / "1").rmdir()  # also where a root could write

    with caplog.at_level(logging.ERROR):
        assert not append(box, 1)
        assert not append(box, 1)

    assert not box.has_room
    assert box.counts.errors == 2
    assert len(caplog.records) == 1


def test_a_write_that_is_not_whole_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = spool(tmp_path)
    append(box, 1)
    whole = box.bytes
    writev = __import__("os").writev
    with monkeypatch.context() as patch:
        patch.setattr("os.writev", lambda file, parts: writev(file, parts[:1]))
        assert not append(box, 2)

    assert append(box, 2)
    assert [path.stat().st_size for path in files(tmp_path)] == [whole, whole]
    assert [(first, last) for _, first, last in read_all(box)] == [(1, 1), (2, 2)]


def test_a_segment_that_cannot_be_read_is_counted_and_passed(tmp_path: Path) -> None:
    box = spool(tmp_path)
    append(box, 1)
    files(tmp_path)[0].unlink()

    assert read_all(box) == []
    assert box.counts.corrupt == 1
    assert not box.has_unread


# --- damage ---

RECORDS = 6


def segment(path: Path) -> list[tuple[int, int]]:
    """Write a segment of a few records; return where each lies."""
    data, places = b"", []
    for first in range(1, RECORDS + 1):
        record = head_of(body(first), first_sequence=first, events=1) + body(first)
        places.append((len(data), len(data) + len(record)))
        data += record
    path.write_bytes(data)
    return places


def sequences(path: Path) -> tuple[list[int], int, int]:
    """Read a segment to its end; return the sequences that it has, and what is not whole."""
    end, at, found, corrupt, torn = path.stat().st_size, 0, list[int](), 0, 0
    while at < end:
        chunk = read_chunk(path, at, end, most_events=2, most_bytes=1 << 20)
        assert b"".join(chunk.bodies) == body(chunk.first_sequence, chunk.events)
        found += range(chunk.first_sequence, chunk.first_sequence + chunk.events)
        corrupt, torn, at = corrupt + chunk.corrupt, torn + chunk.is_torn, chunk.end
    return found, corrupt, torn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "1.events"


@pytest.mark.parametrize("cut", [1, HEAD.size - 1, HEAD.size, HEAD.size + 3])
def test_a_torn_tail_is_cut_and_counted(path: Path, cut: int) -> None:
    begin, _ = segment(path)[-1]
    with path.open("r+b") as file:
        file.truncate(begin + cut)

    assert sequences(path) == ([1, 2, 3, 4, 5], 0, 1)


def test_zeros_at_the_end_are_a_torn_tail(path: Path) -> None:
    segment(path)
    with path.open("ab") as file:
        file.write(bytes(100))

    assert sequences(path) == ([1, 2, 3, 4, 5, 6], 0, 1)
    assert count_events(path, path.stat().st_size) == 6


@pytest.mark.parametrize("at", [0, 5, 10, 13, 17, 25, HEAD.size + 2], ids=lambda at: f"byte {at}")
def test_a_broken_record_is_skipped_and_counted(path: Path, at: int) -> None:
    data, places = None, segment(path)
    data = bytearray(path.read_bytes())
    data[places[2][0] + at] ^= 0x40
    path.write_bytes(data)

    assert sequences(path) == ([1, 2, 4, 5, 6], 1, 0)


@given(damage=st.lists(st.tuples(st.integers(0, 270), st.binary(min_size=1, max_size=40))))
def test_whatever_is_damaged_is_never_served(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("spool") / "1.events"
    places = segment(path)
    before = path.read_bytes()
    data = bytearray(before)
    for at, noise in damage:
        data[at : at + len(noise)] = noise
    path.write_bytes(data)

    found, _, _ = sequences(path)

    whole = [
        number
        for number, (begin, end) in enumerate(places, 1)
        if bytes(data[begin:end]) == before[begin:end]
    ]
    assert found == whole


def test_an_empty_chunk_has_no_last_sequence() -> None:
    assert Chunk(end=0).last_sequence == 0
