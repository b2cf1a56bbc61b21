"""Places as seen from Amsterdam, for tests of what decides between them."""

from __future__ import annotations

from typing import Any

from libs.common.ranking import Place, Site, round_trip_ms
from libs.common.world_map import Colo

AMS = Colo(name="ams", latitude=52.3, longitude=4.8)
LHR = Colo(name="lhr", latitude=51.5, longitude=-0.5)
SIN = Colo(name="sin", latitude=1.4, longitude=104.0)
COLOS = {each.name: each for each in (AMS, LHR, SIN)}
NOW = 1000.0


def at(colo: Colo | str, shard: int = 0, **known: Any) -> Place:
    """A place with four free permits, unless told otherwise."""
    colo = COLOS[colo] if isinstance(colo, str) else colo
    server = known.pop("server", f"server-{colo.name}")
    place = Place(colo=colo.name, server=server, address=server, shard=shard, epoch=1)
    place.distance_ms = round_trip_ms(AMS, colo)
    place.queue_limit = 64
    place.is_known = True
    place.permits = place.free = 4
    for field, value in known.items():
        setattr(place, field, value)
    return place


def sites(*places: Place) -> list[Site]:
    """The places by colo, the nearest first."""
    colos = {each.colo: each.distance_ms for each in places}
    return [
        Site(colo, [each for each in places if each.colo == colo])
        for colo in sorted(colos, key=lambda name: (colos[name], name))
    ]
