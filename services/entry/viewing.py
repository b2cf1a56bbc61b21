"""The world as an account may see it: what the console shows, section by section.

How full a model is may be seen by whoever may run it; where exactly it runs, and what entries
refused to all accounts together, by operators alone. Nothing of other accounts is in it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from libs.common.catalog import Model
from libs.common.world import World
from libs.common.world_map import (
    Account,
    Colo,
    Decision,
    EntryLoad,
    Instance,
    Node,
    Server,
    ShardLoad,
)
from services.entry.tasks.registry import TASKS

Row: TypeAlias = dict[str, Any]
SECTIONS: Final = (
    "colos",
    "models",
    "loads",
    "instances",
    "nodes",
    "decisions",
    "entries",
    "accounts",
)
SHOWN: Final = (0.5, 0.9, 0.99)  # of a forecast's quantiles
EXTERNAL: Final = "external/"  # how the id of such an instance begins
STATES: Final = ("healthy", "backoff", "draining")


def rows(
    world: World, models: Collection[Model], *, runs: Collection[str], sees_all: bool
) -> Iterator[tuple[str, Row]]:
    """Yield each row with its section's name, so that whoever asks may pause between them.

    `models` are those that are seen, `runs` the names of those that may be run.
    """
    names = {each.name for each in models}
    whole: Mapping[str, Iterable[Row]] = {
        "colos": _colos(world),
        "models": (_model(each, runs=each.name in runs) for each in models),
        "loads": _loads(world, names),
        "instances": _instances(world, names, sees_all=sees_all),
        "nodes": map(_node, _sorted(world.table(Node))),
        "decisions": (
            described(each) for each in _sorted(world.table(Decision)) if each.model in names
        ),
        "entries": map(_entry, _sorted(world.table(EntryLoad)) if sees_all else ()),
        "accounts": map(_account, _sorted(world.table(Account)) if sees_all else ()),
    }
    return ((name, row) for name, each in whole.items() for row in each)


class View:
    """The sections as they fill, each with at most so many rows."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self._sections: dict[str, list[Row]] = {name: [] for name in SECTIONS}

    def __repr__(self) -> str:
        return f"<View {dict(self._counts)}>"

    def add(self, name: str, row: Row) -> None:
        """Take a row, if there is room for it."""
        self._counts[name] += 1
        if self._counts[name] <= self._most:
            self._sections[name].append(row)

    def sections(self) -> Mapping[str, Any]:
        """Return them by name; `cut` says how many rows there were of those that had more."""
        cut = {name: count for name, count in self._counts.items() if count > self._most}
        return {**self._sections, "cut": cut}


def charted(decision: Decision) -> Row:
    """Return what a chart of a model's decisions needs of one."""
    return {
        "at_ms": decision.at_ms,
        "region": decision.region,
        "demand": decision.demand,
        "forecast": decision.forecast,
        "running": decision.running,
        "required": decision.required,
        "desired": decision.desired,
        "queued": decision.queued,
        "quantiles": quantiles(decision),
    }


def described(decision: Decision) -> Row:
    """Return all that is told of a decision."""
    return {
        **charted(decision),
        "model": decision.model,
        "reason": decision.reason,
        "cause": decision.cause,
        "booting": decision.booting,
        "placed": decision.placed,
        "is_held": decision.is_held,
        "arrivals": decision.arrivals,
        "late": decision.late,
        "service_s": decision.service_s,
        "saturated": decision.saturated,
        "min": decision.min,
        "max": decision.max,
        "slo_late_share": decision.slo_late_share,
        "late_share": decision.late_share,
        "boot_s": decision.boot_s,
        "weights": {name: share for name, share in decision.weights.items() if share >= 0.005},
    }


def quantiles(decision: Decision) -> list[float]:
    """Return the forecast's quantiles that are shown, nothing where there is no forecast."""
    known = decision.probabilities[: len(decision.quantiles)]
    if not known:
        return []
    return [decision.quantiles[_nearest(known, wanted)] for wanted in SHOWN]


def _nearest(ordered: Sequence[float], wanted: float) -> int:
    """Return the index of what is nearest."""
    at = bisect_left(ordered, wanted)
    if at == len(ordered):
        return at - 1
    is_before = at > 0 and wanted - ordered[at - 1] < ordered[at] - wanted
    return at - 1 if is_before else at


def _sorted(table: Mapping[str, Any]) -> list[Any]:
    return [each for _, each in sorted(table.items())]


def _colos(world: World) -> Iterator[Row]:
    """Yield the sites with who is there."""
    servers = Counter(each.colo for each in world.table(Server).values())
    leaving = Counter(each.colo for each in world.table(Server).values() if each.draining)
    nodes = Counter(each.colo for each in world.table(Node).values())
    for colo in _sorted(world.table(Colo)):
        yield {
            "name": colo.name,
            "region": colo.region,
            "latitude": colo.latitude,
            "longitude": colo.longitude,
            "servers": servers[colo.name],
            "draining": leaving[colo.name],
            "nodes": nodes[colo.name],
        }


def _model(model: Model, *, runs: bool) -> Row:
    return {
        "name": model.name,
        "task": model.task,
        "description": model.description,
        "permits_per_instance": model.permits.per_instance,
        "queue": model.permits.queue,
        "min": model.scaling.min,
        "max": model.scaling.max,
        "streams": TASKS[model.task].streams,
        "runs": runs,
    }


def _loads(world: World, names: Collection[str]) -> Iterator[Row]:
    """Yield how full each model is in each colo, its shards added up."""
    found: dict[tuple[str, str], list[ShardLoad]] = {}
    for each in world.table(ShardLoad).values():
        if each.model in names:
            found.setdefault((each.model, each.colo), []).append(each)
    return (_load(model, colo, shards) for (model, colo), shards in sorted(found.items()))


def _load(model: str, colo: str, shards: Sequence[ShardLoad]) -> Row:
    states = Counter(endpoint.state for each in shards for endpoint in each.endpoints)
    return {
        "model": model,
        "colo": colo,
        "permits": sum(each.permits for each in shards),
        "free": sum(each.free for each in shards),
        "in_flight": sum(each.in_flight for each in shards),
        "queued": sum(each.queued for each in shards),
        "arrivals": sum(each.arrivals for each in shards),
        "done": sum(each.done for each in shards),
        "rejected": sum(sum(each.rejected.values()) for each in shards),
        "forwarded": sum(sum(each.forwarded.values()) for each in shards),
        **{state: states[state] for state in STATES},
    }


def _instances(world: World, names: Collection[str], *, sees_all: bool) -> Iterator[Row]:
    every = (each for each in _sorted(world.table(Instance)) if each.model in names)
    return (_instance(each, sees_all=sees_all) for each in every)


def _instance(instance: Instance, *, sees_all: bool) -> Row:
    row = {
        "id": instance.id if sees_all else without_address(instance.id),
        "model": instance.model,
        "colo": instance.colo,
        "node": instance.node,
        "state": instance.state,
        "external": instance.external,
        "boot_s": instance.boot_s,
        "since_ms": instance.since_ms,
    }
    if sees_all:
        row |= {"address": instance.address, "message": instance.message}
    return row


def _node(node: Node) -> Row:
    return {
        "name": node.name,
        "colo": node.colo,
        "cpus": node.cpus,
        "memory_mb": node.memory_mb,
        "gpus": node.gpus,
        "gpu_model": node.gpu_model,
        "provider": node.provider,
    }


def _entry(entry: EntryLoad) -> Row:
    return {"name": entry.name, "colo": entry.colo, "refused": sum(entry.refused.values())}


def _account(account: Account) -> Row:
    return {"id": account.id, "name": account.name, "blocked": account.blocked}


def without_address(instance: str) -> str:
    """Return what an account sees of an instance's id: an external one's has its address."""
    if not instance.startswith(EXTERNAL):
        return instance
    return EXTERNAL + hashlib.blake2b(instance.encode(), digest_size=4).hexdigest()
