"""All policies by name, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping

from services.scheduler.simulate import ours
from services.scheduler.simulate.peers import PEERS
from services.scheduler.simulate.policy import Family

CLAIRVOYANT = "clairvoyant"
FAMILIES: Mapping[str, Family] = {family.name: family for family in (*PEERS, ours.FAMILY)}
PEER_NAMES = frozenset(family.name for family in PEERS)
NAMES = (*FAMILIES, CLAIRVOYANT)
