"""The scheduler's loop: look, and every few seconds size, place, tell the fleet, and keep why.

Each model in each region is decided anew every `tick_s`, at a moment of its own, so that a large
fleet is not decided at one; in between the last seconds are looked at every `floor_s`. Between
two of them the process's other tasks have their turn. What was kept of them is read beside that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.errors import RequestError
from libs.common.lifecycle import background
from libs.common.spans import Spans
from libs.common.world import World
from libs.common.world_map import Decision, Node, Override, Update, ref
from services.scheduler.boots import Boots
from services.scheduler.controls import controls, expired
from services.scheduler.inventory import deployments, external_instances, external_nodes
from services.scheduler.keeping import Keeping
from services.scheduler.measuring import Measuring
from services.scheduler.metrics import Metrics
from services.scheduler.placement import FleetState, Placement, by_key, left_there
from services.scheduler.plan import Plan, make_plan
from services.scheduler.ports import Fleet
from services.scheduler.rationing import place_rationed
from services.scheduler.records import record_of
from services.scheduler.scale_spans import span_of
from services.scheduler.silences import silences_of
from services.scheduler.sizing import Case, Sizer, Sizing
from services.scheduler.snapshots import Snapshots
from services.scheduler.usage import Key, Usage, read, regions
from services.scheduler.waking import Waking
from services.scheduler.worth import Want

AT_ONCE = {"model", "colo", "node", "override"}  # changes that do not wait for the next step
GATHER_S = 0.2  # such changes come in bunches
HAIR_S = 1e-6  # by which a timer may come early
TURN_S = 0.005  # so long others of this process wait for their turn
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How often the scheduler looks and decides."""

    tick_s: float = 60.0
    floor_s: float = 5.0
    measure_s: float = 1.0
    dry_run: bool = False

    @property
    def steps(self) -> int:
        """Steps in a tick."""
        return max(1, round(self.tick_s / self.floor_s))


class Scheduler:
    """Decides in `step`, again and again in `run`."""

    def __init__(
        self,
        *,
        world: World,
        fleet: Fleet,
        keeping: Keeping,
        snapshots: Snapshots,
        metrics: Metrics,
        clock: Clock,
        settings: Settings,
        spans: Spans | None = None,
    ) -> None:
        self._world = world
        self._fleet = fleet
        self._keeping = keeping
        self._snapshots = snapshots
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        self._spans = spans
        self._sizer = Sizer()
        self._measuring = Measuring()
        self._boots = Boots()
        self._told: dict[Key, Decision] = {}  # the last record of each
        self._placed: tuple[object, Placement] | None = None  # from what, and what came of it
        self._steps = 0
        self._last = 0.0
        self._due = 0.0  # when the next step is, whatever changes before
        self._is_timed = True  # this one is it
        self._cause = "floor"
        self._changed = asyncio.Event()
        self._behind = asyncio.Event()  # there are histories to be read
        self._waking = Waking(world)
        world.listen(self._on_change)

    def __repr__(self) -> str:
        return f"<Scheduler every {self._settings.tick_s:g} s on {self._world!r}>"

    async def run(self) -> None:
        """Step as soon as there are nodes, then every so often, until cancelled."""
        await self._world.until(lambda world: world.complete and bool(world.table(Node)))
        await self._keeping.restore(self._sizer, self._boots)  # only now: another may have decided
        self._last = self._clock.now()
        try:
            async with background(self._catch_up(), name="scheduler: histories"):
                while True:
                    await asyncio.sleep(GATHER_S if self._changed.is_set() else 0)
                    self._changed.clear()
                    with self._going_on():
                        await self.step()
                    await self._look_until_due()
        finally:
            await self._keeping.save_all(self._sizer, self._boots)

    async def _catch_up(self) -> None:
        """Read histories one by one, resting as long as each took: others have work, too.

        Thousands take minutes, in which the fleet has to be told what it needs, and a lease kept.
        """
        clock = asyncio.get_running_loop().time
        while True:
            await self._behind.wait()
            since = clock()
            with self._going_on():
                self._sizer.turn()
            if not self._sizer.is_behind:
                self._behind.clear()
            await asyncio.sleep(clock() - since)

    async def step(self) -> Plan:
        """Decide once, tell the fleet, and keep why."""
        cause, self._cause = self._cause, "floor"
        self._is_timed = (now := self._clock.now()) >= self._due - HAIR_S
        if self._is_timed:
            self._due = now + self._settings.floor_s
        with self._metrics.step_seconds.time():
            usage = self._look()
            await asyncio.sleep(0)  # in turns: the loop may be the one that requests go through
            self._observe(usage)
            await asyncio.sleep(0)
            at_ms = self._clock.unix_ms()
            sizings = await self._size(usage, at_ms=at_ms)
            await asyncio.sleep(0)
            before = dict(self._told)
            plan = self._place(sizings, cause=cause, at_ms=at_ms)
        self._steps += self._is_timed
        if self._sizer.is_behind:
            self._behind.set()  # only now: each has been asked once
        for each in plan.puts:
            log.info("%s should run %d of %s", each.node, each.instances, each.model)
        try:
            await self._fleet.apply(plan)
        finally:
            self._trace(plan.decisions, sizings, before)
            self._metrics.show(sizings, self._told)
            await self._keeping.keep(
                plan.decisions, self._sizer, self._boots, now=self._clock.now()
            )
        return plan

    def _look(self) -> dict[Key, Usage]:
        usage = read(self._world)
        self._measuring.look(self._world, usage)
        self._boots.look(self._world)
        self._metrics.show_fleet(
            deployments(self._world), external_instances(self._world), external_nodes(self._world)
        )
        return usage

    def _observe(self, usage: Mapping[Key, Usage]) -> None:
        """Tell the series what has happened since the last step."""
        now, at_ms = self._clock.now(), self._clock.unix_ms()
        self._sizer.follow(usage.keys())
        if (seconds := now - self._last) > 0:
            spans = self._measuring.spans(
                until=at_ms / 1000, seconds=seconds, may_grow=self._may_grow
            )
            self._sizer.observe(spans)
        self._last = now
        self._snapshots.take(usage, at_ms=at_ms)

    def _may_grow(self, key: Key) -> bool:
        """Whether a region can have more instances for its own calls."""
        told = self._told.get(key)
        return told is None or (
            not told.is_held and told.desired < told.max and told.placed >= told.desired
        )

    async def _size(self, usage: Mapping[Key, Usage], *, at_ms: int) -> dict[Key, Sizing]:
        """Size every model in every region, those anew whose moment it is."""
        state = self._fleet.state()
        current = by_key(state.assigned, state.nodes, regions(self._world))
        models = dict(self._world.table(Model))
        overrides = list(self._world.table(Override).values())
        sizings: dict[Key, Sizing] = {}
        clock = asyncio.get_running_loop().time
        since = clock()
        for key, each in usage.items():
            allowed = controls(
                models[key.model],
                key.region,
                overrides,
                now_ms=at_ms,
                measured_boot_s=self._boots.of(key),
            )
            case = Case(
                model=models[key.model],
                usage=each,
                controls=allowed,
                current=current.get(key, 0),
                is_held=allowed.is_held or self._settings.dry_run,
                at=at_ms / 1000,
            )
            sizings[key] = self._sizer.size(key, case, is_due=self._is_due(key))
            if clock() - since > TURN_S:
                await asyncio.sleep(0)
                since = clock()
        return sizings

    def _is_due(self, key: Key) -> bool:
        """Whether this step is the one of the tick in which a key is decided anew."""
        own = crc32(f"{key.model}@{key.region}".encode())
        return self._is_timed and (own + self._steps) % self._settings.steps == 0

    def _place(self, sizings: Mapping[Key, Sizing], *, cause: str, at_ms: int) -> Plan:
        """Say which node runs what, and make a record of each decision."""
        fleet, region_of = self._fleet.state(), regions(self._world)
        wants = [_want(key, each) for key, each in sizings.items()]
        placement = self._placement(wants, fleet)
        placed = by_key(placement.counts, fleet.nodes, region_of)
        left = left_there(wants, placement.counts, fleet, region_of)
        counts = dict(Counter(placement.counts) + Counter(left))
        silences = silences_of(fleet, counts, region_of, at_ms=at_ms)
        records = []
        for key, each in sizings.items():
            is_due, count = self._is_due(key), placed.get(key, 0)
            if is_due or _differs(self._told.get(key), each, count):
                self._told[key] = record_of(
                    key,
                    each,
                    cause="tick" if is_due else cause,
                    at_ms=at_ms,
                    placed=count,
                    notes=(*silences.get(key, ()), placement.unmet.get(key, "")),
                )
                records.append(self._told[key])
        plan = make_plan(counts, fleet, records)
        over = expired(self._world.table(Override).values(), now_ms=at_ms)
        gone = [self._told.pop(key) for key in self._told.keys() - sizings.keys()]
        deletes = (*plan.deletes, *(ref(each) for each in over), *(ref(each) for each in gone))
        return Plan(puts=plan.puts, deletes=deletes, decisions=plan.decisions)

    def _trace(
        self,
        decisions: Sequence[Decision],
        sizings: Mapping[Key, Sizing],
        before: Mapping[Key, Decision],
    ) -> None:
        if self._spans is None:
            return
        for each in decisions:
            key = Key(each.model, each.region)
            span = span_of(
                each,
                before=before.get(key),
                tier=sizings[key].case.model.tier,
                snapshots=self._snapshots.of(*key),
                ended_ms=self._clock.unix_ms(),
            )
            self._spans.emit(span)

    def _placement(self, wants: Sequence[Want], fleet: FleetState) -> Placement:
        """Place anew if there is anything new."""
        asked = (wants, fleet, regions(self._world))
        if self._placed is None or self._placed[0] != asked:
            self._placed = asked, place_rationed(*asked)
        return self._placed[1]

    async def _look_until_due(self) -> None:
        """Look every so often until the next step; a change makes one due at once."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._due - self._clock.now()
        while not self._changed.is_set() and (left := due - clock()) > 0:
            try:
                async with asyncio.timeout(min(left, self._settings.measure_s)):
                    await self._changed.wait()
            except TimeoutError:
                with self._going_on():
                    self._look()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Survive what happens inside: the next step may be better, and none at all is worst."""
        try:
            yield
        except RequestError as error:
            log.warning("a decision could not be carried out: %s", error)
            self._metrics.failed_ticks.inc()
        except Exception:
            log.exception("a decision failed for a reason of ours")
            self._metrics.failed_ticks.inc()

    def _on_change(self, update: Update) -> None:
        if self._waking.is_due(update):
            self._cause = "wake"
            self._changed.set()
        elif update.kinds & AT_ONCE:
            self._cause = self._cause if self._cause == "wake" else "change"
            self._changed.set()


def _want(key: Key, sizing: Sizing) -> Want:
    case = sizing.case
    least = case.controls.min
    if case.is_held or sizing.is_stood_in:  # others must not have what is there
        least = max(min(sizing.wanted, case.current), 0 if case.is_held else least)
    return Want(
        model=case.model,
        region=key.region,
        instances=sizing.wanted,
        least=least,
        worth=sizing.spared.by_each,
        spared=sizing.spared.by_all,
    )


def _differs(before: Decision | None, now: Sizing, placed: int) -> bool:
    """Whether more than the figures of a decision has changed."""
    allowed = now.case.controls
    return before is None or (
        (before.desired, before.placed, before.is_held, before.min, before.max)
        != (now.desired, placed, now.case.is_held, allowed.min, allowed.max)
    )
