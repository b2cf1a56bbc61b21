"""When a model that has no instance yet will have one: what its calls can hope for."""

from __future__ import annotations

from typing import Final

from libs.common.catalog import Bounds, Model
from libs.common.world import World
from libs.common.world_map import Colo, Decision, Instance

SHORTEST_S: Final = 1.0  # what is overdue may come at any moment


def boot_left_s(world: World, model: Model, colo: str, *, now_ms: int) -> float:
    """Return the seconds until the first instance of a model in the region of a colo is ready.

    The boot takes what the scheduler has measured, or what the catalog says where it has not.
    One that nobody has begun yet has all of it before it.
    """
    colos = world.table(Colo)
    region = colos[colo].region if colo in colos else ""
    boot_s = _boot_s(world, model, region)
    begun = [
        each.since_ms
        for each in world.table(Instance).values()
        if each.model == model.name
        and each.state == "booting"
        and (each.colo == colo or (each.colo in colos and colos[each.colo].region == region))
    ]
    left = [boot_s - max(0, now_ms - since_ms) / 1000 for since_ms in begun if since_ms]
    return max(SHORTEST_S, min(left, default=boot_s))


def _boot_s(world: World, model: Model, region: str) -> float:
    decided = world.table(Decision).get(f"{model.name}@{region}")
    if decided is not None and decided.boot_s:
        return decided.boot_s
    said = model.scaling.region.get(region, Bounds()).boot_s
    return model.scaling.boot_s if said is None else said
