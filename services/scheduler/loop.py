"""The scheduler's loop: measure, forecast, size, damp, place, and tell the fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.errors import RequestError
from libs.common.world import World
from libs.common.world_map import KIND_OF, Node, Override, Update
from services.scheduler.metrics import Metrics
from services.scheduler.placement import FleetState, place
from services.scheduler.plan import Plan, make_plan
from services.scheduler.ports import Fleet
from services.scheduler.sizing import Moment, Sizer
from services.scheduler.usage import Key, read, regions
from services.scheduler.waking import Waking
from services.scheduler.worth import Want

AT_ONCE = {"model", "colo", "node", "override"}  # changes that do not wait for the next tick
GATHER_S = 0.2  # such changes come in bunches
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How often the scheduler looks and decides."""

    tick_s: float = 60.0
    measure_s: float = 1.0


class Scheduler:
    """Decides in `tick`, again and again in `run`."""

    def __init__(
        self,
        *,
        world: World,
        fleet: Fleet,
        sizer: Sizer,
        metrics: Metrics,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._world = world
        self._fleet = fleet
        self._sizer = sizer
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._changed = asyncio.Event()
        self._waking = Waking(world)
        world.listen(self._on_change)

    def __repr__(self) -> str:
        return f"<Scheduler every {self._settings.tick_s:g} s on {self._world!r}>"

    async def run(self) -> None:
        """Tick as soon as there are nodes, then every so often, until cancelled."""
        await self._world.until(lambda world: world.complete and bool(world.table(Node)))
        while True:
            await asyncio.sleep(GATHER_S if self._changed.is_set() else 0)
            self._changed.clear()
            with self._going_on():
                await self.tick()
            await self._measure_until_due()

    async def tick(self) -> Plan:
        """Decide once, and tell the fleet."""
        with self._metrics.tick_seconds.time():
            plan = self._decide()
        for each in plan.puts:
            log.info("%s should run %d of %s", each.node, each.instances, each.model)
        await self._fleet.apply(plan)
        return plan

    def _decide(self) -> Plan:
        state, models = self._fleet.state(), self._world.table(Model)
        region_of = regions(self._world)
        moment = Moment(
            models=models,
            overrides=list(self._world.table(Override).values()),
            usage=read(self._world),
            current=_current(state, region_of),
            at=self._clock.now(),
            unix_ms=self._clock.unix_ms(),
        )
        sizings = self._sizer.size(moment)
        wants = [
            Want(
                model=models[key.model],
                region=key.region,
                instances=each.desired,
                least=each.desired if each.limits.frozen else each.limits.min,
            )
            for key, each in sizings.items()
        ]
        placement = place(wants, state, region_of)
        decisions = [
            each.decision(key, at_ms=moment.unix_ms, unmet=placement.unmet.get(key, ""))
            for key, each in sizings.items()
        ]
        self._metrics.show(sizings, models)
        return make_plan(placement.counts, state, decisions)

    async def _measure_until_due(self) -> None:
        """Look at the demand every so often until the next tick; a change makes it due."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._settings.tick_s
        while not self._changed.is_set() and (left := due - clock()) > 0:
            try:
                async with asyncio.timeout(min(left, self._settings.measure_s)):
                    await self._changed.wait()
            except TimeoutError:
                with self._going_on():
                    usage = read(self._world)
                    self._sizer.measure(usage)
                    self._metrics.show_instances(usage)

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Survive what happens inside: the next tick may be better, and none at all is worst."""
        try:
            yield
        except RequestError as error:
            log.warning("a tick could not be carried out: %s", error)
            self._metrics.failed_ticks.inc()
        except Exception:
            log.exception("a tick failed for a reason of ours")
            self._metrics.failed_ticks.inc()

    def _on_change(self, update: Update) -> None:
        kinds = {KIND_OF[type(each)] for each in update.puts} | {n.kind for n in update.deletes}
        if self._waking.is_due(update) or kinds & AT_ONCE:
            self._changed.set()


def _current(state: FleetState, region_of: Mapping[str, str]) -> dict[Key, int]:
    """Return how many instances of each model there should be as of now, by region."""
    region = {node.name: region_of.get(node.colo, "") for node in state.nodes}
    counts: dict[Key, int] = {}
    for seat, count in state.assigned.items():
        if seat.node in region:
            key = Key(seat.model, region[seat.node])
            counts[key] = counts.get(key, 0) + count
    return counts
