"""Each check: what it finds, and that it finds nothing where all is well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.process import AnalyticsStatus, EventsWaiting, Peer, StoreStatus
from libs.common.world_map import (
    EndpointLoad,
    EntryLoad,
    Instance,
    Node,
    Override,
    Server,
    Shard,
)
from services.doctor import control, events, machine, models, peers
from services.doctor.checks import CHECKS, Check, examine
from services.doctor.facts import Facts
from tests.doctor.facts import (
    DECISION,
    ENTRY,
    INSTANCE,
    LOAD,
    MACHINE,
    MINUTE,
    MODEL,
    NODE,
    NOW,
    PROCESS,
    SERVER,
    facts,
    status,
    world,
)

GONE = "there is no control.sock"
AWAY = EventsWaiting(waiting=7, spool_bytes=1 << 20, spool_most_bytes=1 << 30, is_away=True)
FULL = EventsWaiting(spool_bytes=900 << 20, spool_most_bytes=1 << 30)


def of(peer: Peer, **fields: object) -> Peer:
    """A peer whose process is otherwise."""
    return replace(peer, process=replace(peer.process or PROCESS, **fields))  # type: ignore[arg-type]


def told(**fields: object) -> Facts:
    return facts(status=status(**fields))


FOUND: list[tuple[Check, Facts, str]] = [
    (control.unreachable, facts(unreachable=GONE), "nothing runs in /state"),
    (control.unreachable, facts(unreachable=GONE, machine=None), "nothing answers at c:7100"),
    (
        control.unreachable,
        facts(unreachable=GONE, machine=replace(MACHINE, left={"up": 12})),
        "nothing runs in /state; up (pid 12) is gone",
    ),
    (
        control.unreachable,
        facts(unreachable="silent", machine=replace(MACHINE, holders={"up": 12})),
        "control does not answer, though /state is held by up (pid 12)",
    ),
    (control.catalog_refused, told(mistakes=("x.yaml:1: a", "y")), "refused: x.yaml:1: a (and 1"),
    (
        control.scheduler_idle,
        facts(world=world(replace(DECISION, at_ms=NOW - 3 * MINUTE))),
        "decided nothing for 3 min: it should every 60 s",
    ),
    (
        control.mixed_versions,
        facts(status=status(of(SERVER, version="0.9"))),
        "2 versions run since more than an hour: 0.9: server s1; 1.0: control c1, entry e1",
    ),
    (control.mixed_versions, facts(status=status(replace(NODE, process=None))), "older: node n1"),
    (control.clocks, facts(status=status(replace(NODE, ahead_s=-4.0))), "n1 on h3 is 4.0 s behind"),
    (peers.missing, facts(world=world(without=[EntryLoad])), "there is no entry"),
    (peers.missing, facts(world=world(without=[Server])), "there is no server"),
    (peers.missing, facts(world=world(without=[Node])), "there is no node"),
    (
        peers.silent,
        facts(status=status(replace(NODE, is_reporting=False, silent_s=400.0))),
        "node n1 on h3 has not reported for 6 min",
    ),
    (
        peers.silent,
        facts(status=status(Peer(kind="node", name="n2", is_reporting=False, silent_s=9.0))),
        "node n2 has not reported for 9 s",
    ),
    (
        peers.unowned,
        facts(world=world(Shard(model=MODEL.name, colo="ams", index=0, owner="", epoch=2))),
        "no server in colo ams has its 1 shards",
    ),
    (
        peers.behind,
        facts(status=status(replace(ENTRY, behind_s=30.0))),
        "entry e1 has heard no change for 30 s",
    ),
    (
        peers.disks,
        facts(status=status(of(SERVER, disk_free_bytes=1 << 30))),
        "the disk of server s1 on h1 is nearly full: 1.0 GB of 100 GB are free",
    ),
    (
        peers.certificates,
        facts(status=status(of(SERVER, certificate_ends_ms=NOW + 3 * 24 * 60 * MINUTE))),
        "the certificate of server s1 on h1 expires in 3 d",
    ),
    (
        peers.certificates,
        facts(status=status(of(SERVER, certificate_ends_ms=NOW - 5 * MINUTE))),
        "the certificate of server s1 on h1 expired 5 min ago",
    ),
    (peers.files, facts(status=status(of(SERVER, files=60_000))), "s1 has 60000 files open, of"),
    (peers.files, facts(status=status(of(SERVER, most_files=256))), "s1 may have 256 files open"),
    (
        models.not_ready,
        facts(world=world(replace(INSTANCE, state="failed"))),
        "@cf/x/m has no instance that is ready in region eu, 1 are wanted; 1 failed",
    ),
    (
        models.not_ready,
        facts(world=world(replace(DECISION, reason="no node has room"), without=[Instance])),
        "1 are wanted; none is placed: no node has room",
    ),
    (
        models.not_ready,
        facts(world=world(replace(INSTANCE, state="booting", since_ms=NOW - 5 * MINUTE))),
        "1 are wanted; 1 booting",
    ),
    (
        models.boots,
        facts(world=world(replace(INSTANCE, state="failed", message="it ended\na\n\nno weights"))),
        "i1 of @cf/x/m on node n1 has failed: it ended | a | no weights",
    ),
    (
        models.boots,
        facts(world=world(replace(INSTANCE, state="booting", message="killed"))),
        "i1 of @cf/x/m on node n1 has failed and boots again: killed",
    ),
    (
        models.stuck,
        facts(world=world(replace(INSTANCE, state="draining", message="could not be stopped: no"))),
        "i1 of @cf/x/m on node n1 could not be stopped: no",
    ),
    (
        models.ejected,
        facts(
            world=world(
                replace(
                    LOAD,
                    endpoints=(
                        *LOAD.endpoints,
                        EndpointLoad(instance="i2", address="h:2", state="backoff"),
                    ),
                )
            )
        ),
        "1 of 2 endpoints of @cf/x/m in colo ams are ejected: h:2",
    ),
    (models.full, facts(world=world(replace(LOAD, queued=9))), "9 of 10 places of its queue"),
    (
        models.full,
        facts(
            world=world(replace(LOAD, arrivals=150, rejected={"ams": 30})),
            earlier={LOAD.key: replace(LOAD, arrivals=50, rejected={"ams": 10})},
        ),
        "20 of the last 100 calls were refused",
    ),
    (
        models.late,
        facts(world=world(replace(DECISION, arrivals=100.0, late=5.0))),
        "5 of 100 calls of @cf/x/m in region eu were late in a minute, 1.00% may be",
    ),
    (
        models.frozen,
        facts(world=world(Override(model=MODEL.name, frozen=True))),
        "@cf/x/m is frozen, without end",
    ),
    (events.away, facts(status=status(of(SERVER, events=AWAY))), "server s1 cannot reach analytic"),
    (events.spool, facts(status=status(of(SERVER, events=FULL))), "the spool of server s1 is near"),
    (
        events.spool,
        facts(status=status(of(SERVER, events=EventsWaiting(dropped=3)))),
        "server s1 has lost 3 events",
    ),
    (events.here, facts(analytics_away="timed out"), "analytics does not answer here: timed out"),
    (
        events.here,
        facts(
            analytics=AnalyticsStatus(
                version="1.0", started_ms=NOW, stores=(StoreStatus(name="kafka", trouble="away"),)
            )
        ),
        "events cannot be stored in kafka: away",
    ),
    (
        events.here,
        facts(
            analytics=AnalyticsStatus(
                version="1.0",
                started_ms=NOW,
                stores=(StoreStatus(name="duckdb", waiting=90, most_waiting=100),),
            )
        ),
        "90 events wait for duckdb, of 100",
    ),
    (
        machine.secrets,
        facts(machine=replace(MACHINE, loose={Path("/state/token"): 0o644})),
        "others on this machine may read /state/token: its mode is 644",
    ),
    (
        machine.ports,
        facts(unreachable=GONE, machine=replace(MACHINE, taken_ports=(8080,))),
        "port 8080 is in use",
    ),
    (
        machine.configuration,
        facts(unreachable=GONE, machine=replace(MACHINE, mistakes="x.yaml:1: no")),
        "the configuration has a mistake: x.yaml:1: no",
    ),
    (
        machine.triton,
        facts(unreachable=GONE, machine=replace(MACHINE, lacks_triton=True)),
        "Triton is not set up here",
    ),
]

QUIET: list[tuple[str, Facts]] = [
    ("all is well", facts()),
    ("control is elsewhere", facts(machine=None)),
    ("control is older, and tells nothing of itself", facts(status=None)),
    (
        "a certificate that holds for long",
        facts(status=status(of(SERVER, certificate_ends_ms=NOW + 60 * 24 * 60 * MINUTE))),
    ),
    ("another clock, a little", facts(status=status(replace(NODE, ahead_s=0.5)))),
    (
        "an upgrade that is under way",
        facts(status=status(of(SERVER, version="1.1", started_ms=NOW - MINUTE))),
    ),
    (
        "a control that has just taken over",
        facts(
            status=status(active_since_ms=NOW - MINUTE),
            world=world(replace(DECISION, at_ms=NOW - 9 * MINUTE)),
        ),
    ),
    (
        "a model that boots",
        facts(world=world(replace(INSTANCE, state="booting", since_ms=NOW - 1000))),
    ),
    ("a model that sleeps", facts(world=world(replace(DECISION, desired=0), without=[Instance]))),
    (
        "few calls, one of them late",
        facts(world=world(replace(DECISION, arrivals=4.0, late=1.0))),
    ),
    (
        "a server that began anew",
        facts(
            world=world(replace(LOAD, boot_epoch=2, rejected={"ams": 30})),
            earlier={LOAD.key: replace(LOAD, boot_epoch=1)},
        ),
    ),
    ("what was refused before", facts(world=world(replace(LOAD, rejected={"ams": 30})))),
    (
        "an override that ends",
        facts(world=world(Override(model="m", frozen=True, expires_at_ms=9))),
    ),
    (
        "a colo that nobody uses",
        facts(world=world(Shard(model=MODEL.name, colo="lhr", index=0, owner="", epoch=1))),
    ),
]


@pytest.mark.parametrize(
    ("check", "known", "words"), FOUND, ids=[f"{each.__name__}: {w[:40]}" for each, _, w in FOUND]
)
def test_a_check_finds_what_is_wrong(check: Check, known: Facts, words: str) -> None:
    (finding,) = check(known)

    assert words in finding.what
    assert finding.why
    assert finding.mend


@pytest.mark.parametrize("known", [each for _, each in QUIET], ids=[name for name, _ in QUIET])
def test_nothing_is_found_where_all_is_well(known: Facts) -> None:
    assert examine(known) == []


def test_every_check_is_in_the_table_and_has_a_case() -> None:
    assert {check for check, _, _ in FOUND} == set(CHECKS)


def test_what_is_grave_is_told_first() -> None:
    found = examine(
        facts(
            status=status(of(SERVER, most_files=256)),
            world=world(replace(LOAD, queued=10), replace(DECISION, arrivals=100.0, late=50.0)),
        )
    )

    assert [each.is_grave for each in found] == [True, False, False]


def test_who_shares_a_process_is_told_once() -> None:
    one = replace(PROCESS, most_files=256)
    known = facts(
        status=status(
            replace(SERVER, process=one), replace(ENTRY, process=one), replace(NODE, process=one)
        )
    )

    (finding,) = peers.files(known)

    assert finding.what.startswith("server s1, entry e1, node n1 may have 256")
