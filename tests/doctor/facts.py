"""A cluster that is well, of which tests change what a check looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from libs.common.catalog import Backend, Model, Permits
from libs.common.process import ControlStatus, EventsWaiting, Peer, Process
from libs.common.world import World
from libs.common.world_map import (
    Colo,
    Decision,
    EndpointLoad,
    EntryLoad,
    Instance,
    Node,
    Resource,
    Server,
    Shard,
    ShardLoad,
    Update,
)
from services.doctor.facts import Facts, Machine

NOW = 1_800_000_000_000
MINUTE = 60_000
MACHINE = Machine(state_dir=Path("/state"))

PROCESS = Process(
    version="1.0",
    started_ms=NOW - 120 * MINUTE,
    now_ms=NOW,
    host="h1",
    disk_bytes=100 << 30,
    disk_free_bytes=50 << 30,
    files=100,
    most_files=65_536,
)
SERVER = Peer(
    kind="server", name="s1", colo="ams", process=replace(PROCESS, events=EventsWaiting())
)
ENTRY = Peer(kind="entry", name="e1", colo="ams", process=replace(PROCESS, host="h2"))
NODE = Peer(kind="node", name="n1", colo="ams", process=replace(PROCESS, host="h3"))
STATUS = ControlStatus(
    name="c1",
    process=replace(PROCESS, host="h0"),
    active_since_ms=NOW - 60 * MINUTE,
    peers=(ENTRY, NODE, SERVER),
    tick_s=60.0,
)
MODEL = Model(
    name="@cf/x/m",
    task="text-generation",
    backend=Backend(repository="m"),
    permits=Permits(per_instance=4, queue=10),
)
INSTANCE = Instance(id="i1", model=MODEL.name, colo="ams", node="n1", address="h:1", state="ready")
DECISION = Decision(
    model=MODEL.name,
    region="eu",
    at_ms=NOW - MINUTE,
    demand=1.0,
    forecast=1.0,
    running=1,
    required=1,
    desired=1,
    slo_late_share=0.01,
)
LOAD = ShardLoad(
    model=MODEL.name,
    colo="ams",
    index=0,
    server="s1",
    permits=4,
    free=4,
    endpoints=(EndpointLoad(instance="i1", address="h:1", state="healthy"),),
)
WORLD: tuple[Resource, ...] = (
    Colo(name="ams", region="eu"),
    MODEL,
    Server(name="s1", colo="ams", address="h:7200"),
    EntryLoad(name="e1", colo="ams"),
    Node(name="n1", colo="ams"),
    Shard(model=MODEL.name, colo="ams", index=0, owner="s1", epoch=1),
    INSTANCE,
    DECISION,
    LOAD,
)


def world(*changed: Resource, without: Sequence[type] = ()) -> World:
    """The world that is well, with some resources changed or added, or without some kinds."""
    made = World()
    kept = tuple(each for each in WORLD if not isinstance(each, tuple(without)))
    made.apply(Update(version=1, complete=True, puts=(*kept, *changed)))
    return made


def status(*changed: Peer, **fields: Any) -> ControlStatus:
    """Control's answer when all is well, with some peers or fields changed."""
    names = {(each.kind, each.name) for each in changed}
    kept = [each for each in STATUS.peers if (each.kind, each.name) not in names]
    return replace(STATUS, peers=(*kept, *changed), **fields)


def facts(**fields: Any) -> Facts:
    """All that is known when all is well, but for some fields."""
    told: dict[str, Any] = {
        "at_ms": NOW,
        "control": "c:7100",
        "status": STATUS,
        "world": world(),
        "machine": MACHINE,
    }
    return Facts(**(told | fields))
