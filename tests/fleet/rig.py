"""A whole fleet in virtual time: real controls, schedulers and agents, over a store and machines
that are fakes and outlive them. Whatever may be killed, cut off or made to fail, can be.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.catalog import Model
from libs.common.errors import Unavailable
from libs.common.events.values import LifecycleEvent
from libs.common.lifecycle import background
from libs.common.world import World, follow, keep_reporting
from libs.common.world_map import (
    Assignment,
    Decision,
    Instance,
    Node,
    Override,
    Report,
    Update,
)
from services.control.endpoint_tracker import PRESENT
from services.control.finetunes import Limits
from services.control.lease import Lease, LeaseLost
from services.control.service import Control
from services.control.settings import Settings as ControlSettings
from services.node.agent import Agent
from services.node.ports import BootFailed, InstanceSpec, RunningInstance
from services.scheduler.fleets.nodes import NodeFleet
from services.scheduler.keeping import Keeping
from services.scheduler.loop import Scheduler, Settings
from services.scheduler.metrics import Metrics
from services.scheduler.snapshots import Snapshots
from tests.fleet.parts import (
    BACKOFF_S,
    CATALOG,
    CLOCK,
    DRAIN_S,
    MODELS,
    Disk,
    MemoryStore,
    NoAssets,
    Nowhere,
)


class Controls:
    """The schedulers with their controls, each of which is started again as a supervisor does."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stores: dict[str, MemoryStore] = {}
        self.active: list[Control] = []

    @property
    def names(self) -> set[str]:
        """Those that run, active or not."""
        return set(self._tasks)

    def start(self, name: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(self._run(name), name=name)

    async def kill(self, name: str) -> None:
        """End one as kill -9 does: what it would still do on its way out reaches nothing."""
        if task := self._tasks.pop(name, None):
            if store := self._stores.pop(name, None):
                store.is_dead = True
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def newest(self) -> Control:
        if not self.active:
            raise Unavailable("control is away")
        return self.active[-1]

    async def _run(self, name: str) -> None:
        while True:
            store = self._stores[name] = MemoryStore(self._disk)
            try:
                await self._live(name, store)
            except (LeaseLost, Unavailable):
                await asyncio.sleep(1.0)

    async def _live(self, name: str, store: MemoryStore) -> None:
        control = Control(
            store=store,
            stays=store,
            lease=Lease(store, holder=name, lease_s=5.0, try_s=1.0, clock=CLOCK),
            assets=NoAssets(),
            catalog=CATALOG,
            clock=CLOCK,
            settings=ControlSettings(),
            limits=Limits(per_account=1, largest_bytes=1, uploads_at_once=1),
        )
        world = World()
        scheduler = Scheduler(
            world=world,
            fleet=NodeFleet(control=control, world=world, clock=CLOCK),
            keeping=Keeping(history=Nowhere(), log=Nowhere(), every_s=300.0),
            snapshots=Snapshots(),
            metrics=Metrics(CollectorRegistry()),
            clock=CLOCK,
            settings=Settings(),
        )
        async with control.running():
            self.active.append(control)
            try:
                following = follow(control, world, backoff=Backoff(rng=random.Random(0)))
                tracking = control.track_endpoints(self._disk.events, hostname=name)
                async with (
                    background(following, name=f"{name} world"),
                    background(tracking, name=f"{name} endpoints"),
                    background(scheduler.run(), name=f"{name} scheduler"),
                ):
                    await asyncio.Event().wait()
            finally:
                self.active.remove(control)


class Line:
    """A node's connection to whichever control is active; it may be cut."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self.is_cut = False

    async def watch(self, colo: str = "") -> AsyncGenerator[Update, None]:
        async for update in self._control().watch(colo):
            if self.is_cut:
                raise Unavailable("cut")
            yield update

    async def report(self, reports: AsyncIterator[Report], granted: Any = None) -> None:
        async def passing() -> AsyncGenerator[Report, None]:
            async for report in reports:
                if self.is_cut:
                    raise Unavailable("cut")
                yield report

        await self._control().report(passing(), granted)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def _control(self) -> Control:
        if self.is_cut:
            raise Unavailable("cut")
        return self._controls.newest()


class Machine:
    """Runs instances, that outlive every agent; notes what must never happen."""

    def __init__(self, me: Node, controls: Controls, rng: random.Random) -> None:
        self.me = me
        self.alive: dict[str, RunningInstance] = {}
        self.fail_share = 0.0
        self.stop_fail_share = 0.0
        self.longest_boot_s = 3.0
        self.wrongs: list[str] = []
        self.starts = 0
        self._controls = controls
        self._rng = rng
        self._starting: dict[str, InstanceSpec] = {}
        self.stuck: set[str] = set()  # what could not be stopped, since its agent's start

    @property
    def booting(self) -> set[str]:
        """What boots."""
        return set(self._starting)

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        known = self.alive.get(spec.id)
        if known and known.spec and not known.spec.differs_from(spec):
            return known
        if spec.id in self._starting:
            self.wrongs.append(f"{spec.id} is started twice at once")
        if known:  # as real ones do, which know what they run
            await self.stop(spec.id)
        self._starting[spec.id] = spec
        self.starts += 1
        self._must_fit()
        try:
            await asyncio.sleep(self._rng.uniform(0.1, self.longest_boot_s))
            if self._rng.random() < self.fail_share:
                raise BootFailed("no memory")
            return self._now_alive(spec)
        except asyncio.CancelledError:
            if self._rng.random() < 0.5:  # what was started goes on without its agent
                self._now_alive(spec)
            raise
        finally:
            del self._starting[spec.id]

    async def stop(self, instance_id: str) -> None:
        if instance_id in self.alive and self._is_shown(instance_id):
            self.wrongs.append(f"{instance_id} is stopped while the map shows it as ready")
        await asyncio.sleep(self._rng.uniform(0.0, 0.5))
        if self._rng.random() < self.stop_fail_share:
            self.stuck.add(instance_id)
            raise OSError("it does not answer")
        self.alive.pop(instance_id, None)
        self.stuck.discard(instance_id)

    async def running(self) -> Mapping[str, RunningInstance]:
        back = [id_ for id_ in self.stuck if self._is_shown(id_)]
        self.wrongs += [f"{id_} could not be stopped, and is back in the map" for id_ in back]
        return dict(self.alive)

    def why_died(self, instance_id: str) -> str:
        return "it was killed"

    def _is_shown(self, instance_id: str) -> bool:
        """Whether the map shows it as one that takes calls."""
        if not self._controls.active:
            return False
        shown = self._controls.newest()._snapshot.world.table(Instance).get(instance_id)
        return shown is not None and shown.state == "ready"

    def _now_alive(self, spec: InstanceSpec) -> RunningInstance:
        running = RunningInstance(id=spec.id, model=spec.model, address="127.0.0.1:1", spec=spec)
        self.alive[spec.id] = running
        return running

    def _must_fit(self) -> None:
        specs = [each.spec for each in self.alive.values()] + list(self._starting.values())
        taken = sum(spec.resources.cpus for spec in specs if spec is not None)
        if taken > self.me.cpus + 1e-9:
            self.wrongs.append(f"{self.me.name} has {self.me.cpus:g} CPUs, {taken:g} are taken")


class Site:
    """A machine and its agent, which may be killed and started again."""

    def __init__(self, me: Node, controls: Controls, rng: random.Random) -> None:
        self.me = me
        self.machine = Machine(me, controls, rng)
        self.line = Line(controls)
        self._running: AsyncExitStack | None = None

    @property
    def is_up(self) -> bool:
        """Whether the agent runs."""
        return self._running is not None

    async def start(self) -> None:
        if self._running is not None:
            return
        self.machine.stuck.clear()  # the next agent does not know of it
        world = World()
        agent = Agent(
            me=self.me,
            world=world,
            driver=self.machine,
            root=Path("/models"),
            clock=CLOCK,
            step_s=0.5,
            drain_s=DRAIN_S,
            longest_backoff_s=BACKOFF_S,
        )
        backoff = Backoff(most_s=2.0, rng=random.Random(0))
        stack = AsyncExitStack()
        for work in (
            follow(self.line, world, backoff=backoff),
            keep_reporting(self.line, agent.report, wake=agent.changed, backoff=backoff),
            agent.run(),
        ):
            await stack.enter_async_context(background(work, name=self.me.name))
        self._running = stack

    async def kill(self) -> None:
        if self._running is not None:
            stack, self._running = self._running, None
            await stack.aclose()


class Fleet:
    """All of it, and what it should come to."""

    def __init__(self, rng: random.Random) -> None:
        self.disk = Disk()
        self.controls = Controls(self.disk)
        self.sites = [
            Site(Node(name=f"{colo}-1", colo=colo, cpus=4.0), self.controls, rng)
            for colo in ("ams", "lhr")
        ]
        self.wanted = dict.fromkeys(MODELS, 0)

    async def __aenter__(self) -> Fleet:
        for name in ("a", "b"):
            self.controls.start(name)
        for site in self.sites:
            await site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for site in self.sites:
            await site.kill()
        for name in ("a", "b"):
            await self.controls.kill(name)

    async def want(self, model: str, count: int) -> None:
        """Ask for so many instances, as an operator does, if control can be had."""
        try:
            await self.controls.newest().put(Override(model=model, min=count, max=count))
        except Unavailable:
            return
        self.wanted[model] = count

    async def become(self, model: str, version: int) -> None:
        """Have a model loaded from another folder, if control can be had."""
        try:
            control = self.controls.newest()
            known = control._snapshot.world.table(Model)[model]
            served_as = model  # so that its instances keep their names
            backend = replace(known.backend, repository=f"{model}-{version}", served_as=served_as)
            await control.put(replace(known, backend=backend))
        except Unavailable:
            return

    async def heal(self) -> None:
        """Bring back all that is away."""
        self.disk.is_away = False
        for site in self.sites:
            site.line.is_cut = False
            site.machine.fail_share = site.machine.stop_fail_share = 0.0
            site.machine.longest_boot_s = 3.0
            await site.start()
        for name in ("a", "b"):
            self.controls.start(name)

    def wrong(self) -> list[str]:
        """What keeps the fleet from being as it should be."""
        if len(self.controls.active) != 1:
            return [f"{len(self.controls.active)} controls are active"]
        world = self.controls.newest()._snapshot.world
        found = []
        for site in self.sites:
            name = site.me.name
            assigned = [each for each in world.table(Assignment).values() if each.node == name]
            ids = site.machine.alive.keys()
            should = {each.model: each.instances for each in assigned if each.instances}
            if should != Counter(each.model for each in site.machine.alive.values()):
                found.append(f"{name} should run {should}, runs {sorted(ids)}")
            for running in site.machine.alive.values():
                folder = world.table(Model)[running.model].backend.repository
                if running.spec is None or running.spec.repository.name != folder:
                    found.append(f"{running.id} runs {running.spec}, not {folder}")
            mine = [each for each in world.table(Instance).values() if each.node == name]
            if {each.id for each in mine if each.state == "ready"} != ids or len(mine) != len(ids):
                found.append(f"{name} is shown as {[(each.id, each.state) for each in mine]}")
            found += site.machine.wrongs
        for model, count in self.wanted.items():
            placed = sum(
                each.instances for each in world.table(Assignment).values() if each.model == model
            )
            decision = world.table(Decision).get(f"{model}@eu")
            unmet = decision is not None and "no room" in decision.reason
            if placed != count and not unmet:
                found.append(f"{count} of {model} are wanted, {placed} are assigned")
        return found + self._wrongly_told(world)

    def _wrongly_told(self, world: World) -> list[str]:
        """What the events of all controls say of endpoints that is not so."""
        events = [e for e in self.disk.events.events if isinstance(e, LifecycleEvent)]
        told = [(e.model_id, e.colo, e.node, e.endpoint, e.begin_ts) for e in events]
        begun = Counter(key for key, e in zip(told, events, strict=True) if not e.end_ts)
        ended = Counter(key for key, e in zip(told, events, strict=True) if e.end_ts)
        found = [f"ended, and never began: {ended - begun}"] if ended - begun else []
        found += [f"{e} ended before it began" for e in events if 0 < e.end_ts <= e.begin_ts]
        there = Counter(
            (each.model, each.colo, each.node, each.address)
            for each in world.table(Instance).values()
            if each.state in PRESENT
        )
        shown = Counter(key[:-1] for key in (begun - ended).elements())
        return found + ([f"{there} are there, {shown} are told"] if there != shown else [])
