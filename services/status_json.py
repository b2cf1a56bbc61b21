"""What `constellation status --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from libs.common.catalog import Model
from libs.common.world_map import (
    Colo,
    Decision,
    EntryLoad,
    Instance,
    Node,
    Server,
    Shard,
    ShardLoad,
)
from services.doctor.facts import Facts, Finding

SHOWN: Mapping[str, type[Any]] = {
    "colos": Colo,
    "entries": EntryLoad,
    "servers": Server,
    "nodes": Node,
    "instances": Instance,
    "shards": Shard,
    "loads": ShardLoad,
    "decisions": Decision,
}


def as_json(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return all that is known as an object; no account and no token is in it."""
    grave = any(each.is_grave for each in findings)
    told: dict[str, Any] = {
        "control": facts.control,
        "health": "unreachable" if facts.unreachable else "degraded" if grave else "healthy",
        "unreachable": facts.unreachable,
        "at_ms": facts.at_ms,
        "versions": facts.versions,
        "status": asdict(facts.status) if facts.status is not None else None,
        "analytics": asdict(facts.analytics) if facts.analytics is not None else None,
        "models": sorted(facts.world.table(Model)),
        "findings": [asdict(each) for each in findings],
    }
    for name, kind in SHOWN.items():
        table: Mapping[str, Any] = facts.world.table(kind)
        told[name] = [asdict(table[key]) for key in sorted(table)]
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(told, option=option).decode()
