"""Which instances of a model stay where there are more of them than should run.

Those go first that serve nobody: what has failed, then what is being stopped or is outdated, then
the newest boots; after them what drains already, and last what serves, the least busy first. So
fewer are wanted than are there, and as many as can be go on serving.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, count, islice
from typing import Final

from services.node.ports import InstanceSpec
from services.node.reconcile import Managed
from services.node.wanted import Wish

STAYS: Final = ("ready", "draining", "booting")  # the first before the others
OUTDATED, STOPPING, FAILED = range(len(STAYS), len(STAYS) + 3)


def chosen_instances(
    wishes: Iterable[Wish],
    managed: Mapping[str, Managed],
    *,
    stopping: Collection[str],
    calls: Callable[[InstanceSpec], int],
) -> dict[str, InstanceSpec]:
    """Return what should run, by id: of what is there as many as are wished for, else new ones.

    `stopping` are being stopped and may begin anew then; `calls` tells how many an instance has in
    flight. What could not be stopped is nobody's to use: another takes its place.
    """
    return {
        spec.id: spec
        for wish in wishes
        for spec in map(wish.at, _slots(wish, managed, stopping=stopping, calls=calls))
    }


def _slots(
    wish: Wish,
    managed: Mapping[str, Managed],
    *,
    stopping: Collection[str],
    calls: Callable[[InstanceSpec], int],
) -> Iterator[int]:
    there = {
        slot: known for id_, known in managed.items() if (slot := wish.slot_of(id_)) is not None
    }
    kept = [slot for slot, known in there.items() if not known.stop_failures]

    def order(slot: int) -> tuple[int, float, int, int]:
        known = there[slot]
        rank = _rank(known, wish.at(slot), known.spec.id in stopping)
        busy = known.retry_at if rank == FAILED else -calls(known.spec)
        return rank, busy, known.since_ms, slot

    if len(kept) > wish.instances:
        kept = sorted(kept, key=order)[: wish.instances]
    new = (slot for slot in count() if slot not in there)
    return chain(sorted(kept), islice(new, wish.instances - len(kept)))


def _rank(known: Managed, spec: InstanceSpec, is_stopping: bool) -> int:
    if is_stopping:
        return STOPPING
    if known.state == "failed":
        return FAILED
    if known.spec.differs_from(spec):
        return OUTDATED
    return STAYS.index(known.state)
