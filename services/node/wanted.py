"""How many instances of what a node should run, by the world's assignments, catalog, finetunes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from libs.common.catalog import Finetune, Model
from libs.common.world import World
from libs.common.world_map import EndpointLoad, Instance, ShardLoad
from services.node.ports import InstanceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """So many instances of a model should run; they are told apart by the number of their slot."""

    spec: InstanceSpec  # of any of them: its id lacks the slot
    instances: int

    def at(self, slot: int) -> InstanceSpec:
        """Return what should run in a slot."""
        return replace(self.spec, id=f"{self.spec.id}{slot}")

    def slot_of(self, instance: str) -> int | None:
        """Return the slot of one of them, None where it is none."""
        told = instance.removeprefix(self.spec.id)
        return int(told) if told.isdecimal() and f"{self.spec.id}{int(told)}" == instance else None


def wishes(
    world: World, *, node: str, root: Path, fetched: Callable[[str], Path | None]
) -> list[Wish]:
    """Return what a node is assigned.

    `fetched` returns where the files of an uploaded finetune are, None while they are not here.
    """

    def adapter(finetune: Finetune) -> Path | None:
        return root / finetune.adapter if finetune.adapter else fetched(finetune.id)

    found = []
    for assignment in world.assignments(node=node):
        model = world.table(Model).get(assignment.model)
        if model is None or not (model.backend.repository or model.backend.command):
            continue
        finetunes = world.table(Finetune).values()
        mine = ((each.id, adapter(each)) for each in finetunes if each.model == model.name)
        adapters = {name: folder for name, folder in mine if folder}
        spec = _spec(model, node=node, root=root, adapters=adapters)
        found.append(Wish(spec=spec, instances=assignment.instances))
    return found


def let_go(world: World, *, instance: str, model: str, colo: str) -> bool:
    """Whether no server leases on an instance any more, nor has calls in flight there."""
    loads = [e for e in _endpoints(world, model, colo) if e.instance == instance]
    return all(each.state == "draining" and each.in_flight == 0 for each in loads)


def is_listed(world: World, instance: str) -> bool:
    """Whether the map shows an instance as one that takes calls."""
    shown = world.table(Instance).get(instance)
    return shown is not None and shown.state == "ready"


def in_flight(world: World, *, instance: str, model: str, colo: str) -> int:
    """Return how many calls are in flight on an instance, as its servers last said."""
    loads = _endpoints(world, model, colo)
    return sum(each.in_flight for each in loads if each.instance == instance)


def _endpoints(world: World, model: str, colo: str) -> list[EndpointLoad]:
    loads = world.table(ShardLoad).values()
    mine = [each for each in loads if each.model == model and each.colo == colo]
    return [endpoint for load in mine for endpoint in load.endpoints]


def _spec(model: Model, *, node: str, root: Path, adapters: Mapping[str, Path]) -> InstanceSpec:
    return InstanceSpec(
        id=f"{node}/{model.served_as}/",
        model=model.name,
        served_as=model.served_as,
        repository=root / model.backend.repository,
        dedicated=model.backend.dedicated,
        adapters=adapters,
        resources=model.resources,
        command=model.backend.command,
        ready_path=model.backend.ready_path,
    )
