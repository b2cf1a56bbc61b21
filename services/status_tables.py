"""What `constellation status` prints: the cluster on one screen, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from libs.common.away import lost
from libs.common.catalog import Model
from libs.common.process import Peer, Process
from libs.common.world import World
from libs.common.world_map import (
    Colo,
    Decision,
    EntryLoad,
    Instance,
    Node,
    Server,
    ShardLoad,
)
from services.accounts_tables import table
from services.doctor.facts import Facts, Finding
from services.quantities import ago, size

WIDTH: Final = 80
WIDEST: Final = 30  # of a model's name
WIDEST_NAME: Final = 20  # of a service's, and of a colo's
MOST: Final = 20  # rows of a table, unless all are asked for
FRESH_S: Final = 3.0  # reports come each second
KINDS: Final = ("entry", "server", "node")
Row = tuple[str, ...]


def screen(facts: Facts, findings: Sequence[Finding], *, everything: bool = False) -> str:
    """Return the text; `everything`: all rows, and whole names."""
    grave = [each for each in findings if each.is_grave]
    parts = [
        f"{facts.control}: {'degraded' if grave else 'healthy'}\n",
        _cut(table(_services(facts, everything)), everything),
        _cut(_models(facts, everything), everything),
        _last_lines(facts),
        "".join(f"! {_short(each.what, 76)}\n" for each in grave[: 5 if not everything else None]),
    ]
    if findings:
        count = "one finding" if len(findings) == 1 else f"{len(findings)} findings"
        parts.append(f"{count}: constellation doctor says why, and how to mend it\n")
    return "\n".join(part for part in parts[:4] if part) + "".join(parts[4:])


def _services(facts: Facts, everything: bool) -> list[Row]:
    rows: list[Row] = [("service", "name", "colo", "version", "up", "heard", "load")]
    rows += _control(facts)
    known = {(each.kind, each.name): each for each in facts.peers}
    for kind in KINDS:
        names = {name for peer_kind, name in known if peer_kind == kind}
        names |= set(_of_kind(facts.world, kind))
        shown = sorted(names, key=lambda name: (_is_well(known.get((kind, name))), name))
        most = len(shown) if everything else MOST
        rows += [
            _service(facts, kind, name, known.get((kind, name)), everything)
            for name in shown[:most]
        ]
        if len(shown) > most:
            rows.append((kind, f"and {len(shown) - most} more: --all", "", "", "", "", ""))
    rows += _analytics(facts)
    return rows


def _control(facts: Facts) -> Iterator[Row]:
    status = facts.status
    if status is None:
        yield ("control", "?", "-", "older", "-", "now", "does not tell of itself")
        return
    process, followed = status.process, f"{status.watchers} follow it"
    standby = ", one stands by" if status.has_standby else ""
    up = _up(process)
    yield ("control", status.name, "-", process.version, up, "now", f"active{standby}, {followed}")
    decided = [each.at_ms for each in facts.world.table(Decision).values()]
    last = f"decided {ago((process.now_ms - max(decided)) / 1000)} ago" if decided else "waits"
    if status.tick_s:
        yield ("scheduler", status.name, "-", process.version, up, "now", last)


def _service(facts: Facts, kind: str, name: str, peer: Peer | None, everything: bool) -> Row:
    process = peer.process if peer is not None else None
    heard = "-"
    if peer is not None:
        is_fresh = peer.is_reporting and peer.silent_s < FRESH_S
        heard = "now" if is_fresh else f"{ago(peer.silent_s)} ago"
    told = _of_kind(facts.world, kind).get(name)
    colo = peer.colo if peer is not None else told.colo if told is not None else ""
    version = process.version if process is not None else "older" if heard == "now" else "-"
    up = _up(process) if heard == "now" else "-"
    shown = name if everything else _middle(name, WIDEST_NAME)
    colo = colo if everything else _middle(colo, WIDEST_NAME)
    return (kind, shown, colo or "-", version, up, heard, LOADS[kind](facts.world, name))


def _up(process: Process | None) -> str:
    return ago((process.now_ms - process.started_ms) / 1000) if process is not None else "-"


def _is_well(peer: Peer | None) -> bool:
    return peer is not None and peer.is_reporting


def _of_kind(world: World, kind: str) -> Mapping[str, EntryLoad | Server | Node]:
    tables: dict[str, Mapping[str, EntryLoad | Server | Node]] = {
        "entry": world.table(EntryLoad),
        "server": world.table(Server),
        "node": world.table(Node),
    }
    return tables[kind]


def _entry_load(world: World, name: str) -> str:
    load = world.table(EntryLoad).get(name)
    return f"{sum(load.refused.values())} refused" if load is not None else "-"


def _server_load(world: World, name: str) -> str:
    loads = [each for each in world.table(ShardLoad).values() if each.server == name]
    server = world.table(Server).get(name)
    draining = "draining, " if server is not None and server.draining else ""
    used, permits, queued = _room(loads)
    return f"{draining}{used}/{permits} permits, {queued} queued"


def _node_load(world: World, name: str) -> str:
    found = [each.state for each in world.table(Instance).values() if each.node == name]
    node = world.table(Node).get(name)
    gpus = f", {node.gpus} GPUs" if node is not None and node.gpus else ""
    return f"{found.count('ready')}/{len(found)} instances{gpus}"


LOADS: Final = {"entry": _entry_load, "server": _server_load, "node": _node_load}


def _analytics(facts: Facts) -> Iterator[Row]:
    if facts.analytics_away:
        yield ("analytics", "here", "-", "-", "-", "-", "does not answer")
    elif facts.analytics is not None:
        status = facts.analytics
        stores = ", ".join(
            f"{each.name}: {'not storing' if each.trouble else f'{each.waiting} waiting'}"
            for each in status.stores
        )
        up = ago((facts.at_ms - status.started_ms) / 1000)
        yield ("analytics", "here", "-", status.version, up, "now", stores)


def _models(facts: Facts, everything: bool) -> str:
    world = facts.world
    models = sorted(world.table(Model).values(), key=lambda each: _order(world, each))
    asleep = 0 if everything else sum(_sleeps(world, each) for each in models)
    awake = len(models) if everything else min(MOST, len(models) - asleep)
    rows: list[Row] = [("model", "ready", "booting", "failed", "permits", "queue", "")]
    rows += [_model(world, each, everything) for each in models[:awake]]
    more = [
        *([f"{len(models) - awake - asleep} more"] if len(models) > awake + asleep else []),
        *([f"{asleep} that sleep until they are called"] if asleep else []),
    ]
    return table(rows) + (f"and {', and '.join(more)}: --all\n" if more else "")


def _sleeps(world: World, model: Model) -> bool:
    """Whether a model runs nowhere, and need not."""
    runs = any(each.model == model.name for each in world.table(Instance).values())
    decisions = world.table(Decision).values()
    return not runs and not any(each.desired for each in decisions if each.model == model.name)


def _order(world: World, model: Model) -> tuple[bool, bool, int, str]:
    """Those that are not well first, then those that are busy, and at the end those that sleep."""
    states = [each.state for each in world.table(Instance).values() if each.model == model.name]
    used, _, queued = _room(_loads(world, model.name))
    return (_sleeps(world, model), "failed" not in states, -(used + queued), model.name)


def _model(world: World, model: Model, everything: bool) -> Row:
    found = [each for each in world.table(Instance).values() if each.model == model.name]
    gone = lost(world)
    states = [each.state for each in found if each.id not in gone]
    loads = _loads(world, model.name)
    used, permits, queued = _room(loads)
    wanted = [each.desired for each in world.table(Decision).values() if each.model == model.name]
    ready = str(states.count("ready")) + (f"/{sum(wanted)}" if wanted else "")
    ejected = sum(each.state == "backoff" for load in loads for each in load.endpoints)
    notes = [
        *([f"{ejected} ejected"] if ejected else []),
        *([f"{len(found) - len(states)} away"] if len(found) > len(states) else []),
        *(["sleeps"] if _sleeps(world, model) else []),
        *(["external"] if any(each.external for each in found) else []),
        *([f"{states.count('draining')} draining"] if "draining" in states else []),
    ]
    return (
        model.name if everything else _middle(model.name, WIDEST),
        ready,
        str(states.count("booting")),
        str(states.count("failed")),
        f"{used}/{permits}",
        str(queued),
        ", ".join(notes),
    )


def _loads(world: World, model: str) -> list[ShardLoad]:
    return [each for each in world.table(ShardLoad).values() if each.model == model]


def _room(loads: Sequence[ShardLoad]) -> tuple[int, int, int]:
    """Return permits that are taken, all permits, and calls that wait."""
    permits = sum(each.permits for each in loads)
    return (
        permits - sum(each.free for each in loads),
        permits,
        sum(each.queued for each in loads),
    )


def _last_lines(facts: Facts) -> str:
    told = [p.process for p in facts.peers]
    told += [facts.status.process] if facts.status is not None else []
    events = [each.events for each in told if each is not None and each.events is not None]
    rows = [("colos", _short(_colos(facts.world), 70))]
    if events:
        waiting, spooled = sum(e.waiting for e in events), sum(e.spooled for e in events)
        on_disk = f"{spooled} on disk ({size(sum(e.spool_bytes for e in events))})"
        lost = f"{sum(e.dropped for e in events)} lost"
        rows.append(("events", f"{waiting} waiting, {on_disk}, {lost}"))
    if (count := len(facts.versions)) > 1:
        rows.append(("versions", f"{count} versions: a rolling upgrade under way?"))
    if facts.status is not None and facts.status.mistakes:
        rows.append(("catalog", _short(f"an edit is refused: {facts.status.mistakes[0]}", 70)))
    return table(rows)


def _colos(world: World) -> str:
    """Return those in which something runs, and how many there are besides."""
    used = {each.colo for kind in KINDS for each in _of_kind(world, kind).values()}
    colos = sorted(world.table(Colo).values(), key=lambda each: each.name)
    told = [each for each in colos if each.name in used]
    names = [f"{each.name} ({each.region})" if each.region else each.name for each in told]
    if others := len(colos) - len(told):
        names.append(f"{others} with nothing in {'it' if others == 1 else 'them'}")
    return ", ".join(names)


def _cut(text: str, everything: bool) -> str:
    """Keep lines within the screen, unless everything is asked for."""
    if everything:
        return text
    lines = text.splitlines()
    return "".join((e if len(e) <= WIDTH else e[: WIDTH - 1] + "…") + "\n" for e in lines)


def _middle(text: str, width: int) -> str:
    """Shorten a name in its middle: both ends tell it from others."""
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[-half:]}"


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
