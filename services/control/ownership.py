"""Who owns which shard: rendezvous hashing over the colo's servers.

Each server scores every shard of its colo, and the highest score owns it. So a
server that leaves gives away only what it had, a newcomer takes only what it
scores highest on, and everyone else keeps what they have. Draining servers own
nothing, unless there is nobody else. Each change of owner raises the shard's
epoch, and a shard is never forgotten, so that its epoch only grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from libs.common.catalog import Model
from libs.common.world_map import Colo, Server, Shard, shard_key


def wanted_shards(models: Iterable[Model], colos: Iterable[Colo]) -> dict[str, Shard]:
    """Return every shard that should be, without an owner, by key."""
    names = [colo.name for colo in colos]
    every = (
        Shard(model=model.name, colo=colo, index=index, owner="", epoch=0)
        for model in models
        for colo in names
        for index in range(model.shards)
    )
    return {shard.key: shard for shard in every}


def judge(
    wanted: Mapping[str, Shard], present: Mapping[str, Shard], servers: Iterable[Server]
) -> list[Shard]:
    """Return the shards that are new or change their owner."""
    by_colo: dict[str, list[Server]] = {}
    for server in servers:
        by_colo.setdefault(server.colo, []).append(server)
    changed = []
    for key in wanted.keys() | present.keys():
        shard = present.get(key) or wanted[key]
        owner = _owner(shard, by_colo.get(shard.colo, [])) if key in wanted else ""
        if owner != shard.owner:
            changed.append(replace(shard, owner=owner, epoch=shard.epoch + 1))
        elif key not in present:
            changed.append(shard)
    return sorted(changed, key=lambda shard: shard.key)


def _owner(shard: Shard, servers: list[Server]) -> str:
    staying = [server.name for server in servers if not server.draining]
    if staying:
        return max(staying, key=lambda name: (score(shard, name), name))
    return shard.owner if any(server.name == shard.owner for server in servers) else ""


def score(shard: Shard, server: str) -> bytes:
    """Return how much a server wants a shard; the same on every machine and in every version."""
    name = f"{server}\0{shard_key(shard.colo, shard.model, shard.index)}"
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
