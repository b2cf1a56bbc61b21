"""Places where not all that is wanted fits: first how many each model is to have, then where.

Taking away instance by instance, each by its own worth, would leave several models with a part of
what they need, and calls late on all of them. So those of one priority share the places that they
have together (`services.scheduler.deciding.sharing`). That needs instances that take the same
room, and models of which it is known what they spare; with others the places go one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from services.scheduler.deciding.sharing import Share, shared
from services.scheduler.placement import FleetState, Placement, by_key, place
from services.scheduler.usage import Key
from services.scheduler.worth import Want


def place_rationed(
    wants: Sequence[Want], fleet: FleetState, region_of: Mapping[str, str]
) -> Placement:
    """Place every want, or what is its share where not all fits."""
    found = place(wants, fleet, region_of)
    if not found.unmet:
        return found
    placed, has = (by_key(each, fleet.nodes, region_of) for each in (found.counts, fleet.assigned))
    rations = dict(_rations(wants, {key.region for key in found.unmet}, placed, has))
    if not any(rations[want.key] < want.instances for want in wants if want.key in rations):
        return found
    less = [replace(each, instances=rations.get(each.key, each.instances)) for each in wants]
    again = place(less, fleet, region_of)
    reasons = {
        want.key: f"no room for {missing}: what others have of it spares more late calls"
        for want in wants
        if (missing := want.instances - rations.get(want.key, want.instances)) > 0
    }
    return Placement(counts=again.counts, unmet={**reasons, **again.unmet})


def _rations(
    wants: Sequence[Want], short: set[str], placed: Mapping[Key, int], has: Mapping[Key, int]
) -> Iterator[tuple[Key, int]]:
    """Yield how many each may have, of those who can share."""
    concerned = sorted((want for want in wants if want.region in short), key=_group)
    for _, together in groupby(concerned, key=_group):
        group = list(together)
        places = sum(placed.get(want.key, 0) for want in group)
        if not _can_share(group, places):
            continue
        shares = [_share(want, has.get(want.key, 0)) for want in group]
        counts = _with_rest(shares, shared(shares, places), places)
        yield from zip((want.key for want in group), counts, strict=True)


def _group(want: Want) -> tuple[str, int]:
    return want.region, want.model.priority


def _can_share(group: Sequence[Want], places: int) -> bool:
    return (
        len({want.model.resources for want in group}) == 1
        and all(want.model.backend.dedicated and want.spared for want in group)
        and sum(min(want.least, want.instances) for want in group) <= places
    )


def _share(want: Want, has: int) -> Share:
    return Share(
        worth=np.array(want.spared),
        least=min(want.least, want.instances),
        most=want.instances,
        has=has,
    )


def _with_rest(shares: Sequence[Share], counts: list[int], places: int) -> list[int]:
    """Return counts with what is left given away, too: served late is better than not at all."""
    left = places - sum(counts)
    for reached in ([share.has for share in shares], [share.most for share in shares]):
        for at, share in enumerate(shares):
            more = max(0, min(left, reached[at] - counts[at], share.most - counts[at]))
            counts[at] += more
            left -= more
    return counts
