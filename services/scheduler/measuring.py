"""What each model in each region went through, as the spans that its series is told.

Calls count where they came from. A region is charged with its calls that others served, and with
those that nobody served, as calls times their mean service; whoever served them is relieved of
them, unless the region that they are from cannot have more instances: then they will come again,
and are the other's to plan for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from libs.common.world import World
from services.scheduler.counting import Counting, Sums
from services.scheduler.deciding import Span
from services.scheduler.usage import Key, Usage

USUAL_SERVICE_S = 1.0  # before any call has ended
NOTHING = Sums()


def joined(spans: Collection[Span], *, until: float) -> Span:
    """Return spans as the one that they are together."""
    seconds = sum(each.seconds for each in spans)
    arrivals = sum(each.arrivals for each in spans)
    weights = [each.seconds / seconds for each in spans] if seconds > 0 else [0.0] * len(spans)
    return Span(
        until=until,
        seconds=seconds,
        load=sum(w * each.load for w, each in zip(weights, spans, strict=True)),
        arrivals=arrivals,
        late=sum(each.late for each in spans),
        saturated=sum(w * each.saturated for w, each in zip(weights, spans, strict=True)),
    )


@dataclass(slots=True)
class Looks:
    """The looks at a key since the last span."""

    count: int = 0
    demand: float = 0.0
    in_flight: float = 0.0
    full: int = 0

    def add(self, usage: Usage) -> None:
        """Take in a look."""
        self.count += 1
        self.demand += usage.demand
        self.in_flight += usage.in_flight
        self.full += usage.is_full


@dataclass(slots=True)
class Measuring:
    """Looks every second or so, and makes a span of that every few seconds."""

    counting: Counting = field(default_factory=Counting)
    _looks: dict[Key, Looks] = field(default_factory=dict)
    _service_s: dict[Key, float] = field(default_factory=dict)

    def look(self, world: World, usage: Mapping[Key, Usage]) -> None:
        """Take in how things are."""
        self.counting.look(world)
        for key, each in usage.items():
            self._looks.setdefault(key, Looks()).add(each)

    def spans(
        self, *, until: float, seconds: float, may_grow: Callable[[Key], bool]
    ) -> dict[Key, Span]:
        """Return what has happened in these seconds to each key that was looked at."""
        sums = self.counting.taken()
        looks, self._looks = self._looks, {}
        self._service_s = {k: known for k, known in self._service_s.items() if k in looks}
        for key in looks:
            counted = sums.get(key, NOTHING)
            if counted.done:
                self._service_s[key] = counted.service_s / counted.done
        by_model: dict[str, dict[Key, Sums]] = {}
        for key, counted in sums.items():
            by_model.setdefault(key.model, {})[key] = counted
        return {
            key: self._span(
                key,
                each,
                by_model.get(key.model, {}),
                until=until,
                seconds=seconds,
                may_grow=may_grow,
            )
            for key, each in looks.items()
        }

    def _span(
        self,
        key: Key,
        looks: Looks,
        sums: Mapping[Key, Sums],  # of the model
        *,
        until: float,
        seconds: float,
        may_grow: Callable[[Key], bool],
    ) -> Span:
        mine = sums.get(key, NOTHING)
        others = [(other, each) for other, each in sums.items() if other.region != key.region]
        theirs = {region for region in mine.came if may_grow(Key(key.model, region))}
        went = sum(each.came.get(key.region, 0.0) for _, each in others)
        relieved = sum(mine.served_for(region) for region in theirs)
        moved = mine.refused - relieved
        moved += sum(n for region, n in mine.turned_away.items() if region not in theirs)
        if may_grow(key):
            moved += sum(each.served_for(key.region) for _, each in others)
        own = max(0.0, mine.arrivals - sum(mine.came[region] for region in theirs))
        arrivals = max(own + max(0.0, went - mine.seen), mine.refused)
        service_s = self._service_s.get(key, USUAL_SERVICE_S)
        load = looks.demand / looks.count + moved * service_s / seconds
        in_flight = looks.in_flight / looks.count - relieved * service_s / seconds
        return Span(
            until=until,
            seconds=seconds,
            load=max(0.0, load),
            in_flight=max(0.0, in_flight),
            arrivals=arrivals,
            late=min(arrivals, mine.late + mine.refused),
            service_s=mine.service_s / mine.done if mine.done else 0.0,
            saturated=looks.full / looks.count,
        )
