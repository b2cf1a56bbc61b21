"""Which endpoints there are: when each came into the world map, and when it left.

Of one endpoint after the other under an instance's id, each has a stay of its own. A control
that starts goes on from what the last one kept, so that nothing begins twice, and what left
meanwhile has left once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from libs.common.events.values import EventType, LifecycleEvent
from libs.common.world_map import Instance

# A draining instance still runs calls, and its node may take it back.
PRESENT = ("ready", "draining")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an instance answers."""

    instance: str
    model: str
    colo: str
    node: str  # empty for an external one
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """The time of one endpoint in the world map, in Unix milliseconds."""

    endpoint: Endpoint
    begin_ts: int
    end_ts: int = 0  # while it is there


class AvailableEndpointTracker:
    """Compares what there is with what there was."""

    def __init__(self, kept: Iterable[Stay] = (), *, seen_ts: int = 0) -> None:
        """`kept` are the stays that another one had not seen the end of, `seen_ts` its last look.

        Of those the ones that are gone at the first look left when they were last seen.
        """
        self._present = {each.endpoint.instance: each for each in kept}
        self._left_ts = seen_ts
        self._last_ts = max([seen_ts, *(each.begin_ts for each in self._present.values())])

    def __repr__(self) -> str:
        return f"<AvailableEndpointTracker {len(self._present)} endpoints>"

    @property
    def present(self) -> tuple[Stay, ...]:
        """Return the stays that go on."""
        return tuple(self._present.values())

    def look(self, endpoints: Iterable[Endpoint], *, at_ms: int) -> list[Stay]:
        """Return the stays that end or begin with what there is now, ends first."""
        now = {each.instance: each for each in endpoints}
        gone = [each for key, each in self._present.items() if now.get(key) != each.endpoint]
        left_ts, self._left_ts = self._left_ts, 0
        if not gone and now.keys() <= self._present.keys():
            return []
        # The machine's time may be set back; that of stays never is.
        self._last_ts = at_ms = max(at_ms, self._last_ts + 1)
        ended = [_ended(each, left_ts or at_ms) for each in gone]
        for each in ended:
            del self._present[each.endpoint.instance]
        began = [
            Stay(endpoint=each, begin_ts=at_ms)
            for key, each in now.items()
            if key not in self._present
        ]
        self._present |= {each.endpoint.instance: each for each in began}
        return [*ended, *began]


def _ended(stay: Stay, end_ts: int) -> Stay:
    return replace(stay, end_ts=max(end_ts, stay.begin_ts + 1))


def endpoints_of(instances: Iterable[Instance]) -> list[Endpoint]:
    """Return the endpoints of those instances that have one."""
    return [
        Endpoint(
            instance=each.id,
            model=each.model,
            colo=each.colo,
            node=each.node,
            address=each.address,
        )
        for each in instances
        if each.state in PRESENT
    ]


def event_of(stay: Stay, *, hostname: str) -> LifecycleEvent:
    """Return what is told of a stay's begin, or of its end."""
    return LifecycleEvent(
        begin_ts=stay.begin_ts,
        end_ts=stay.end_ts,
        event_type=EventType.ENDPOINT,
        model_id=stay.endpoint.model,
        hostname=hostname,
        colo=stay.endpoint.colo,
        node=stay.endpoint.node,
        endpoint=stay.endpoint.address,
    )
