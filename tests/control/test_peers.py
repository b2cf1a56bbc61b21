"""What control knows of those that report to it: how old it is, and how they are."""

from __future__ import annotations

import pytest

from libs.common.process import EventsWaiting, Peer, Process
from libs.common.world_map import Report
from services.control.peers import Peers
from services.control.reporters import Reporter

SERVER = Reporter("server", "s")


def report(*, now_ms: int = 1_000_000, world: int = 7) -> Report:
    process = Process(version="1.2.3", started_ms=5, now_ms=now_ms, world_version=world)
    return Report(kind="server", name="s", colo="ams", resources=(), process=process)


def heard(*reports: tuple[float, Report, int]) -> Peers:
    peers = Peers()
    for now, each, version in reports:
        peers.heard(each, now=now, unix_ms=1_000_000, version=version)
    return peers


def only(peers: Peers, *, now: float, since: float = 0.0) -> Peer:
    (peer,) = peers.all({SERVER: True}, now=now, since=since)
    return peer


def test_a_peer_is_what_it_said_last_and_how_long_ago_that_was() -> None:
    peer = only(heard((10.0, report(), 7)), now=12.5)

    assert (peer.kind, peer.name, peer.colo) == ("server", "s", "ams")
    assert peer.silent_s == 2.5
    assert peer.process is not None
    assert peer.process.version == "1.2.3"


def test_one_that_has_not_reported_is_silent_since_control_is_active() -> None:
    peer = only(Peers(), now=12.0, since=4.0)

    assert (peer.colo, peer.silent_s, peer.process) == ("", 8.0, None)


@pytest.mark.parametrize(("now_ms", "ahead_s"), [(1_003_000, 3.0), (990_000, -10.0)])
def test_a_clock_is_held_against_controls_own(now_ms: int, ahead_s: float) -> None:
    assert only(heard((0.0, report(now_ms=now_ms), 7)), now=0.0).ahead_s == ahead_s


@pytest.mark.parametrize(
    ("told", "behind_s"),
    [
        pytest.param([(7, 7), (7, 7), (7, 7)], 0.0, id="nothing changes"),
        pytest.param([(7, 7), (8, 9), (9, 11)], 0.0, id="it follows, a little late"),
        pytest.param([(7, 7), (7, 8), (7, 9)], 2.0, id="it hears no change"),
        pytest.param([(7, 7), (7, 9), (9, 9)], 0.0, id="it hears again"),
    ],
)
def test_who_hears_no_change_falls_behind(told: list[tuple[int, int]], behind_s: float) -> None:
    reports = [(float(at), report(world=has), version) for at, (has, version) in enumerate(told)]

    assert only(heard(*reports), now=2.0).behind_s == behind_s


def test_a_version_that_says_nothing_of_itself_is_never_behind() -> None:
    old = Report(kind="server", name="s", colo="ams", resources=())

    peer = only(heard((0.0, old, 7), (9.0, old, 8)), now=9.0)

    assert (peer.process, peer.behind_s, peer.ahead_s) == (None, 0.0, 0.0)


def test_one_that_is_gone_is_forgotten() -> None:
    peers = heard((0.0, report(), 7))
    peers.forget(SERVER)

    assert only(peers, now=1.0).process is None


def test_events_that_wait_are_a_part_of_it() -> None:
    events = EventsWaiting(waiting=3, is_away=True)
    process = Process(version="1", started_ms=1, now_ms=1, events=events)
    told = Report(kind="server", name="s", colo="ams", resources=(), process=process)

    peer = only(heard((0.0, told, 7)), now=0.0)

    assert peer.process is not None
    assert peer.process.events == events
