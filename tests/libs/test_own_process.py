"""What a process says of itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.common.clock import SystemClock
from libs.common.own_process import OwnProcess, our_version
from libs.common.process import EventsWaiting
from libs.common.world import World
from libs.common.world_map import Update
from tests.certificates import Authority

DAY_MS = 86_400_000


class Sink:
    """Has some events."""

    def events_waiting(self) -> EventsWaiting:
        return EventsWaiting(waiting=5)


def test_it_tells_its_version_clock_disk_files_and_events(tmp_path: Path) -> None:
    world = World()
    world.apply(Update(version=7, complete=True))

    told = OwnProcess(folder=tmp_path, clock=SystemClock(), world=world, sink=Sink())()

    assert told.version == our_version()
    assert 0 < told.started_ms <= told.now_ms <= time.time_ns() // 1_000_000
    assert told.world_version == 7
    assert 0 < told.disk_free_bytes <= told.disk_bytes
    assert 0 < told.files <= told.most_files
    assert told.events == EventsWaiting(waiting=5)
    assert told.certificate_ends_ms == 0


def test_a_folder_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    told = OwnProcess(folder=tmp_path / "nowhere", clock=SystemClock())()

    assert (told.disk_bytes, told.disk_free_bytes, told.events) == (0, 0, None)


def test_it_tells_when_its_certificate_expires(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue("server").cert

    told = OwnProcess(folder=tmp_path, clock=SystemClock(), certificate=certificate)()

    now_ms = datetime.now(UTC).timestamp() * 1000
    assert told.certificate_ends_ms == pytest.approx(now_ms + DAY_MS, abs=DAY_MS / 24)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_certificate_that_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_bytes(content)

    told = OwnProcess(folder=tmp_path, clock=SystemClock(), certificate=path)()

    assert told.certificate_ends_ms == 0
