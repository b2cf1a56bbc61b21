"""What runs where, counted by the labels of the scheduler's metrics."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from libs.common.away import lost
from libs.common.catalog import Model
from libs.common.room import Room
from libs.common.world import World
from libs.common.world_map import Instance, Node
from services.scheduler.usage import regions


class Deployment(NamedTuple):
    """Instances on nodes, by model and by what they run on."""

    model: str
    tier: str
    region: str
    status: str
    gpu_model: str


class ExternalInstance(NamedTuple):
    """Endpoints of models that others run."""

    provider: str
    region: str
    model: str
    phase: str


class ExternalNode(NamedTuple):
    """GPUs of machines that others run."""

    provider: str
    region: str
    state: str


def deployments(world: World) -> Counter[Deployment]:
    """Count the instances on nodes: away are those that nobody hears of or reaches."""
    region_of, models, nodes = regions(world), world.table(Model), world.table(Node)
    counts: Counter[Deployment] = Counter()
    gone = lost(world)
    for each in world.table(Instance).values():
        if each.external:
            continue
        model, node = models.get(each.model), nodes.get(each.node)
        counts[
            Deployment(
                model=each.model,
                tier=model.tier if model else "",
                region=region_of.get(each.colo, ""),
                status="away" if each.id in gone else each.state,
                gpu_model=node.gpu_model if node else "",
            )
        ] += 1
    return counts


def external_instances(world: World) -> Counter[ExternalInstance]:
    """Count what others run: the catalog's addresses, and instances on nodes of providers.

    An address is reached from every colo; a region counts it once.
    """
    region_of, models, nodes = regions(world), world.table(Model), world.table(Node)
    places: dict[tuple[str, str, str], ExternalInstance] = {}
    for each in world.table(Instance).values():
        model, node = models.get(each.model), nodes.get(each.node)
        provider = node.provider if node else ""
        if not each.external and not provider:
            continue
        if each.external and model is not None:
            provider = model.backend.provider
        region = region_of.get(each.colo, "")
        place = each.address if each.external else each.id
        places[each.model, region, place] = ExternalInstance(
            provider=provider, region=region, model=each.model, phase=each.state
        )
    return Counter(places.values())


def external_nodes(world: World) -> Counter[ExternalNode]:
    """Count the GPUs of machines that others run: used, by instances that need them, or free."""
    region_of, models = regions(world), world.table(Model)
    rooms = {node.name: Room(node) for node in world.table(Node).values() if node.provider}
    for each in world.table(Instance).values():
        if each.node in rooms and each.model in models and each.state != "failed":
            rooms[each.node].take(models[each.model].resources)
    counts: Counter[ExternalNode] = Counter()
    for room in rooms.values():
        node, used = room.node, min(room.used_gpus, room.node.gpus)
        for state, gpus in (("used", used), ("free", node.gpus - used)):
            counts[ExternalNode(node.provider, region_of.get(node.colo, ""), state)] += gpus
    return counts
