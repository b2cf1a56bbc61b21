"""The nodes of a region while instances are being placed on them, and taken off again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from libs.common.catalog import Model
from libs.common.room import Room
from libs.common.world_map import Node
from services.scheduler.usage import Key
from services.scheduler.worth import Rank, Want, cost, outweighs

FEW = 3  # nodes that are named of many


class Board:
    """What is placed on which node."""

    def __init__(
        self, nodes: Iterable[Node], wants: Iterable[Want], *, away: Collection[str] = ()
    ) -> None:
        """Begin empty; nothing is placed on the nodes that are `away` but what is kept there."""
        self._seats = [Seats(node, is_away=node.name in away) for node in nodes]
        self._wants = {want.model.name: want for want in wants}

    def __repr__(self) -> str:
        return f"<Board {' '.join(map(repr, self._seats))}>"

    def counts(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield node and model, and how many instances are placed there."""
        for seats in self._seats:
            for model, count in seats.counts.items():
                if count:
                    yield (seats.node.name, model), count

    def placed(self, want: Want) -> int:
        """Return how many instances are placed."""
        return sum(seats.counts.get(want.model.name, 0) for seats in self._seats)

    def keep(self, want: Want, assigned: Mapping[str, int], ready: Mapping[str, int]) -> None:
        """Place what nodes run already, without what is too much.

        What is on nodes that are away goes first, and then what boots or has failed, so that as
        many as can be go on serving: each node takes away its own in that order, too.
        """
        model = want.model
        for seats in self._seats:
            count = assigned.get(seats.node.name, 0)
            seats.add(model, min(count, 1) if model.backend.shares else count)
        for _ in range(self.placed(want) - want.instances):
            most = max(
                (seats for seats in self._seats if seats.counts.get(model.name)),
                key=lambda seats: (
                    seats.is_away,
                    seats.counts[model.name] > ready.get(seats.node.name, 0),
                    *seats.fullness(model),
                    seats.node.name,
                ),
            )
            most.remove(model)

    def add(self, want: Want) -> bool:
        """Place one more where there is room; the best place first."""
        able = [seats for seats in self._seats if not seats.refusals(want.model)]
        if not able:
            return False
        min(able, key=lambda seats: self._order(seats, want.model)).add(want.model)
        return True

    def displace(self, want: Want) -> set[Key]:
        """Place one more where others, that matter less, give way to it; return whose they were."""
        gain = want.rank(self.placed(want) + 1)
        found = []
        for seats in self._seats:
            victims = {} if seats.is_away else self._victims(seats, want, gain)
            if victims and outweighs(gain, victims.values()):
                order = (cost(victims.values()), *self._order(seats, want.model))
                found.append((order, seats, victims))
        if not found:
            return set()
        _, seats, victims = min(found, key=lambda each: each[0])
        for name, _ in victims:
            seats.remove(self._wants[name].model)
        seats.add(want.model)
        return {self._wants[name].key for name, _ in victims}

    def why_not(self, want: Want) -> str:
        """Say what each node has too little of."""
        nodes: dict[str, list[str]] = {}
        for seats in self._seats:
            for why in seats.refusals(want.model):
                nodes.setdefault(why, []).append(seats.node.name)
        if not nodes:
            return "the region has no nodes"
        text = "; ".join(f"{why} on {_few(names)}" for why, names in nodes.items())
        there = [seats for seats in self._seats if not seats.is_away]
        others = any(seats.counts.keys() - {want.model.name} for seats in there)
        return f"{text}; what runs there comes first" if others else text

    def _victims(self, seats: Seats, want: Want, gain: Rank) -> dict[tuple[str, int], Rank]:
        """Return who would have to go from a node for one more instance of `want`.

        Those that matter least go first; whoever could have stayed in the end, stays.
        """
        victims: dict[tuple[str, int], Rank] = {}
        if want.model.backend.shares and seats.counts.get(want.model.name):
            return victims
        trial = seats.copy()
        left = {name: self.placed(self._wants[name]) for name in trial.counts}
        left.pop(want.model.name, None)
        while trial.refusals(want.model):
            ranks = {
                (name, count): self._wants[name].rank(count)
                for name, count in left.items()
                if trial.counts[name]
            }
            if not ranks:
                return {}
            lowest = min(ranks, key=lambda each: (ranks[each], each))
            if ranks[lowest].level > gain.level:
                return {}
            victims[lowest] = ranks[lowest]
            trial.remove(self._wants[lowest[0]].model)
            left[lowest[0]] -= 1
        return self._without_needless(victims, trial, want.model)

    def _without_needless(
        self, victims: dict[tuple[str, int], Rank], trial: Seats, model: Model
    ) -> dict[tuple[str, int], Rank]:
        """Put back those for whom there is room beside the newcomer, what matters most first."""
        trial.add(model)
        kept = dict(victims)
        for victim in sorted(victims, key=lambda each: victims[each], reverse=True):
            other = self._wants[victim[0]].model
            if not trial.refusals(other):
                trial.add(other)
                del kept[victim]
        return kept

    def _order(self, seats: Seats, model: Model) -> tuple[float | str, ...]:
        """Sort the best place first."""
        in_colo = [each for each in self._seats if each.node.colo == seats.node.colo]
        needs_gpu = bool(model.resources.gpus or model.resources.gpu_memory_mb)
        return (
            sum(each.counts.get(model.name, 0) for each in in_colo),
            seats.counts.get(model.name, 0),
            model.name not in seats.node.weights,
            seats.room.opens(model.resources) if needs_gpu else seats.node.gpus,
            *seats.fullness(model)[1:],
            seats.node.name,
        )


class Seats:
    """What is placed on one node, and what that takes."""

    def __init__(self, node: Node, *, is_away: bool = False) -> None:
        self.node = node
        self.is_away = is_away
        self.room = Room(node)
        self.counts: dict[str, int] = {}
        self._models: dict[str, Model] = {}

    def __repr__(self) -> str:
        return f"<Seats {self.room!r} {self.counts}>"

    def add(self, model: Model, count: int = 1) -> None:
        """Place instances, whether they fit or not."""
        self.counts[model.name] = self.counts.get(model.name, 0) + count
        self._models[model.name] = model
        self.room.take(model.resources, count)

    def remove(self, model: Model) -> None:
        """Take one off."""
        self.counts[model.name] -= 1
        self.room.give_back(model.resources)

    def copy(self) -> Seats:
        """Return another one like it, to try things on."""
        other = Seats(self.node, is_away=self.is_away)
        for name, count in self.counts.items():
            other.add(self._models[name], count)
        return other

    def refusals(self, model: Model) -> tuple[str, ...]:
        """Return why one more instance cannot run here, or nothing."""
        if self.is_away:
            return ("no sign of the agent",)
        if model.backend.shares and self.counts.get(model.name):
            return ("there is an instance",)
        return tuple(f"not enough {what}" for what in self.room.lacks(model.resources))

    def fullness(self, model: Model) -> tuple[float, float, float]:
        """Return how full it is, of this model before all."""
        total = sum(self.counts.values())
        return (self.counts.get(model.name, 0), self.room.fullness(), total)


def _few(names: Sequence[str]) -> str:
    more = len(names) - FEW
    shown = ", ".join(names[:FEW])
    return f"{shown} and {more} more" if more > 0 else shown
