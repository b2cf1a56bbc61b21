"""Which instances a node should run, by the world's assignments, catalog and finetunes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from libs.common.catalog import Finetune, Model
from libs.common.world import World
from libs.common.world_map import EndpointLoad, Instance, ShardLoad
from services.node.ports import InstanceSpec


def wanted_instances(
    world: World, *, node: str, root: Path, fetched: Callable[[str], Path | None]
) -> dict[str, InstanceSpec]:
    """Return what should run, by id: the first `n` slots of each assigned model.

    Slots are numbered, so that the newest, the highest, is the first to go. `fetched` returns
    where the files of an uploaded finetune are, None while they are not here.
    """

    def adapter(finetune: Finetune) -> Path | None:
        return root / finetune.adapter if finetune.adapter else fetched(finetune.id)

    specs = {}
    for assignment in world.assignments(node=node):
        model = world.table(Model).get(assignment.model)
        if model is None or not (model.backend.repository or model.backend.command):
            continue
        finetunes = world.table(Finetune).values()
        mine = ((each.id, adapter(each)) for each in finetunes if each.model == model.name)
        adapters = {name: folder for name, folder in mine if folder}
        for slot in range(assignment.instances):
            spec = _spec(model, node=node, slot=slot, root=root, adapters=adapters)
            specs[spec.id] = spec
    return specs


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


def _spec(
    model: Model, *, node: str, slot: int, root: Path, adapters: Mapping[str, Path]
) -> InstanceSpec:
    return InstanceSpec(
        id=f"{node}/{model.served_as}/{slot}",
        model=model.name,
        served_as=model.served_as,
        repository=root / model.backend.repository,
        dedicated=model.backend.dedicated,
        adapters=adapters,
        resources=model.resources,
        command=model.backend.command,
        ready_path=model.backend.ready_path,
    )
