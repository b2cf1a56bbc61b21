"""What to do next on a node: start, drain, stop, from what should run and what does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from libs.common.room import Room
from libs.common.world_map import InstanceState, Node
from services.node.ports import InstanceSpec, RunningInstance

STEADY_S = 60.0  # who has run for so long starts again without a wait
ALIVE: tuple[InstanceState, ...] = ("ready", "draining")


@dataclass(slots=True, kw_only=True)
class Managed:
    """One instance under the agent's care; changed only between awaits."""

    spec: InstanceSpec
    state: InstanceState
    since_ms: int
    address: str = ""
    boot_s: float = 0.0
    failures: int = 0
    ready_at: float = 0.0
    retry_at: float = 0.0
    drain_until: float = 0.0
    stop_failures: int = 0  # how often it could not be stopped: it may yet run, and serves no more
    stop_at: float = 0.0  # not before
    message: str = ""

    @property
    def may_run(self) -> bool:
        """Whether it may hold what it needs of the node."""
        return self.state != "failed" or self.stop_failures > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What a step has to do, as instance ids."""

    start: list[InstanceSpec] = field(default_factory=list)
    relink: list[InstanceSpec] = field(default_factory=list)
    drain: list[str] = field(default_factory=list)
    undrain: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)


def decide(
    *,
    wanted: Mapping[str, InstanceSpec],
    managed: Mapping[str, Managed],
    idle: Collection[str],
    listed: Collection[str] = (),
    now: float,
) -> Actions:
    """Return what brings the node nearer to `wanted`.

    `idle` are the draining instances that every server has let go of, `listed` those that the map
    still shows as ready: servers may not know yet that they drain. What should run as
    something else, another command say, is drained and stopped like what should not run at all.
    So is a boot, at once: nobody has called it yet.
    """
    actions = Actions()
    may_stop = {id_ for id_, each in managed.items() if id_ in idle or each.drain_until <= now}
    may_stop |= {id_ for id_, each in managed.items() if each.state == "booting"}
    may_stop.difference_update(listed)
    for id_, spec in wanted.items():
        _keep(actions, spec, managed.get(id_), id_ in may_stop, now)
    for id_, known in managed.items():
        if id_ not in wanted:
            _end(actions, id_, known, id_ in may_stop, now)
    return actions


def with_room(
    starts: Sequence[InstanceSpec],
    *,
    staying: Iterable[InstanceSpec],
    going: Collection[InstanceSpec],
    node: Node,
) -> list[InstanceSpec]:
    """Return what may start beside what is `going`; when nothing is, all that is wanted may."""
    if not going:
        return list(starts)
    room = Room(node)
    for spec in (*staying, *going):
        room.take(spec.resources)
    able = []
    for spec in starts:
        if not room.lacks(spec.resources):
            room.take(spec.resources)
            able.append(spec)
    return able


def is_other(known: Managed | None, found: RunningInstance) -> bool:
    """Whether what runs is not what we know under its id, or nothing is known."""
    if known is None:
        return True
    return known.state in ALIVE and found.spec is not None and known.spec.differs_from(found.spec)


def note_deaths(
    managed: Mapping[str, Managed], running: Collection[str], *, now: float, longest_s: float
) -> list[str]:
    """Mark what has died as failed, to be started again: at once, then later and later."""
    dead = [id_ for id_, known in managed.items() if known.state in ALIVE and id_ not in running]
    for id_ in dead:
        known = managed[id_]
        if now - known.ready_at > STEADY_S:
            known.failures = 0
        known.state = "failed"
        known.retry_at = now + backoff_s(known.failures, longest_s)
        known.failures += 1
    return dead


def backoff_s(failures: int, longest_s: float) -> float:
    """Return the wait before the next start: none after a first death, then doubling from 1 s."""
    return min(2.0 ** (failures - 1), longest_s) if failures else 0.0


def _keep(
    actions: Actions, spec: InstanceSpec, known: Managed | None, may_stop: bool, now: float
) -> None:
    if known is None or (known.state == "failed" and known.retry_at <= now):
        actions.start.append(spec)
    elif known.state != "failed" and known.spec.differs_from(spec):
        _end(actions, spec.id, known, may_stop, now)  # and then begins anew
    elif known.state == "draining":
        actions.undrain.append(spec.id)
    elif known.state == "ready" and known.spec != spec:
        actions.relink.append(spec)


def _end(actions: Actions, id_: str, known: Managed, may_stop: bool, now: float) -> None:
    if known.state == "ready":
        actions.drain.append(id_)
    elif (known.state == "failed" or may_stop) and known.stop_at <= now:
        actions.stop.append(id_)
