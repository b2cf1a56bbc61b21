"""Autoscalers that others publish, rebuilt from their rules to be compared with.

Their grids are about a dozen configurations each: all of them are tried to choose one.
"""

from __future__ import annotations

from services.scheduler.simulate.peers import (
    ai5m,
    dynamo,
    hpa,
    hpa_slo,
    kpa,
    queue,
    ray,
    sky,
    static,
)
from services.scheduler.simulate.policy import Family

PEERS: tuple[Family, ...] = (
    static.FAMILY,
    hpa.FAMILY,
    kpa.FAMILY,
    ray.FAMILY,
    sky.FAMILY,
    queue.FAMILY,
    dynamo.FAMILY,
    ai5m.FAMILY,
    hpa_slo.FAMILY,
)
