"""Checks of servers, entries and nodes: who is missing, silent, behind, or short of something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from libs.common.catalog import Model
from libs.common.world_map import EntryLoad, Node, Server, Shard
from services.doctor.facts import Facts, Finding
from services.quantities import ago, size

BEHIND_S: Final = 10.0
FULL: Final = 0.05  # of a disk, free
LEAST_FREE: Final = 512 << 20
MANY: Final = 0.8  # of the files that a process may have
SOON_S: Final = 14 * 86_400.0
GRAVE_S: Final = 2 * 86_400.0  # to an expiry
FEW_FILES: Final = 1024  # a call takes two or more


def missing(facts: Facts) -> Iterator[Finding]:
    """A kind of service is not there at all."""
    if facts.unreachable:
        return
    world = facts.world
    needs_nodes = any(not each.backend.external for each in world.table(Model).values())
    for kind, there, does in (
        ("entry", world.table(EntryLoad), "no call comes in"),
        ("server", world.table(Server), "no call reaches a model"),
        ("node", world.table(Node) if needs_nodes else True, "nobody runs the catalog's models"),
    ):
        if not there:
            yield Finding(
                what=f"there is no {kind}",
                why=does,
                mend=f"constellation {kind} --name NAME --colo COLO --control ADDRESS",
            )


def unowned(facts: Facts) -> Iterator[Finding]:
    """Models of a colo belong to no server."""
    colos: dict[str, int] = {}
    for shard in facts.world.table(Shard).values():
        if not shard.owner:
            colos[shard.colo] = colos.get(shard.colo, 0) + 1
    for colo, count in sorted(colos.items()):
        if colo in {node.colo for node in facts.world.table(Node).values()}:
            yield Finding(
                what=f"no server in colo {colo} has its {count} shards, though it has nodes",
                why="the instances there serve nothing; calls go to other colos, if there are any",
                mend=f"constellation server --name {colo}-server --colo {colo} --control ADDRESS",
            )


def silent(facts: Facts) -> Iterator[Finding]:
    """One that should report does not."""
    for each in facts.peers:
        if each.is_reporting:
            continue
        where = f" on {each.process.host}" if each.process is not None else ""
        what = f"{each.kind} {each.name}{where} has not reported for {ago(each.silent_s)}"
        if each.kind == "node":
            why = "what ran there may go on, but nobody starts, mends or stops it"
            name = f"--name {each.name} --colo {each.colo or 'COLO'}"
            mend = f"on that machine: constellation node {name} --control ADDRESS"
        else:
            why = "control takes it for lost after some seconds, and goes on without it"
            mend = f"look at that process and its log; constellation {each.kind} starts another"
        yield Finding(what=what, why=why, mend=mend)


def behind(facts: Facts) -> Iterator[Finding]:
    """One does not hear what control hands out."""
    for each in facts.peers:
        if each.is_reporting and each.behind_s > BEHIND_S:
            yield Finding(
                what=f"{each.kind} {each.name} has heard no change for {ago(each.behind_s)}",
                why="it acts on what was true then: models, accounts, tokens, who runs what",
                mend=f"look for `control is away` in its log; restart {each.kind} {each.name}",
            )


def disks(facts: Facts) -> Iterator[Finding]:
    """The disk of a state folder is nearly full."""
    seen: dict[tuple[str, int], tuple[str, int, int]] = {}
    for name, each in facts.processes.items():
        seen.setdefault((each.host, each.disk_bytes), (name, each.disk_bytes, each.disk_free_bytes))
    for (host, _), (name, whole, free) in seen.items():
        if whole and free < max(FULL * whole, min(LEAST_FREE, whole // 4)):
            yield Finding(
                what=f"the disk of {name} on {host} is nearly full: {size(free)} of {size(whole)}"
                " are free",
                why="events can no longer wait there, and what control keeps cannot be written",
                mend=f"on {host}: du -xh --max-depth=2 STATE_DIR | sort -h; remove what is old,"
                " or lower analytics.keep_events_days",
            )


def certificates(facts: Facts) -> Iterator[Finding]:
    """A certificate expires soon, or has."""
    for name, each in facts.processes.items():
        left_s = (each.certificate_ends_ms - each.now_ms) / 1000
        if each.certificate_ends_ms and left_s < SOON_S:
            when = f"expires in {ago(left_s)}" if left_s > 0 else f"expired {ago(-left_s)} ago"
            yield Finding(
                what=f"the certificate of {name} on {each.host} {when}",
                why="then none of our other services speaks with it any more",
                mend="constellation certs rotate, and bring the new folder there: it is taken up"
                " without a restart",
                is_grave=left_s < GRAVE_S,
            )


def files(facts: Facts) -> Iterator[Finding]:
    """A process runs out of file descriptors, or soon will."""
    for name, each in facts.processes.items():
        if not each.most_files or not each.files:
            continue
        if each.files > MANY * each.most_files:
            what = f"{name} has {each.files} files open, of {each.most_files} that it may have"
        elif each.most_files < FEW_FILES:
            what = f"{name} may have {each.most_files} files open, which are few calls"
        else:
            continue
        yield Finding(
            what=what,
            why="each connection is a file: with none left, calls are not even answered",
            mend="ulimit -n 65536 before it is started (LimitNOFILE=65536 for systemd)",
            is_grave=each.files > MANY * each.most_files,
        )
