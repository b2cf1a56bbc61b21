"""The node's agent: keeps the instances as they should be, and says how they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.world import World
from libs.common.world_map import (
    Instance,
    InstanceState,
    Node,
    Report,
    Resource,
    Update,
)
from services.node.choosing import chosen_instances
from services.node.ports import (
    NOTHING,
    BootFailed,
    BootStatus,
    InstanceDriver,
    InstanceSpec,
    RunningInstance,
    SetupRun,
)
from services.node.reconcile import (
    Actions,
    Managed,
    backoff_s,
    decide,
    is_other,
    note_deaths,
    with_room,
)
from services.node.wanted import Wish, in_flight, is_listed, let_go, wishes

LEAST_DRAIN_S = 1.5  # a server's last report may be older than its knowledge of the instance
SETTLED_S = 1.0  # between two whole steps where nothing has happened
NEWS = {"assignment", "model", "finetune"}  # what changes what should run
TOLD = ("failed", "booting")  # states of which it is said why
LOG_SHOWN = 2_000  # characters of a failed boot's log that go into the report
log = logging.getLogger(__name__)


class Agent:
    """Reconciles in small steps; boots run beside, one task each."""

    def __init__(
        self,
        *,
        me: Node,
        world: World,
        driver: InstanceDriver,
        root: Path,
        clock: Clock,
        step_s: float,
        drain_s: float,
        longest_backoff_s: float,
        fetched: Callable[[str], Path | None] = lambda finetune: None,
        weights: Callable[[], tuple[str, ...]] = tuple,
        booted: Callable[[SetupRun], None] = lambda run: None,
    ) -> None:
        """`fetched` finds an uploaded finetune's files, `weights` tells whose models' are here.

        `booted` hears of each boot that has come to its end: good, bad or cancelled.
        """
        self.changed = asyncio.Event()
        self._me = me
        self._world = world
        self._driver = driver
        self._root = root
        self._clock = clock
        self._step_s = step_s
        self._drain_s = drain_s
        self._longest_backoff_s = longest_backoff_s
        self._fetched = fetched
        self._weights = weights
        self._booted = booted
        self._wanted_since: dict[str, int] = {}
        self._managed: dict[str, Managed] = {}
        self._boots: dict[str, asyncio.Task[None]] = {}  # the last of each instance
        self._stopping: set[str] = set()
        self._settled_until = 0.0
        self._is_leaving = False
        self._left = asyncio.Event()
        world.listen(self._hear)

    def __repr__(self) -> str:
        states = ", ".join(f"{id_}={each.state}" for id_, each in self._managed.items())
        return f"<Agent {self._me.name}: {states or 'nothing'}>"

    async def run(self) -> None:
        """Reconcile until cancelled; boots under way are cancelled with it."""
        await self._world.until(lambda world: world.complete)
        async with asyncio.TaskGroup() as boots:
            while True:
                try:
                    await self._step(boots)
                except Exception:  # the next step may be better, and none at all is worst
                    log.exception("a step failed for a reason of ours")
                try:
                    async with asyncio.timeout(self._step_s):
                        await self._world.changed()
                except TimeoutError:
                    continue

    async def leave(self) -> None:
        """Let every instance go as one that should run no more, within the bound of a drain."""
        self._is_leaving, self._settled_until = True, 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await self._left.wait()

    def report(self) -> Report:
        """Say which instances there are and how they are."""
        instances = (
            self._instance(id_, each)
            for id_, each in self._managed.items()
            if not (each.state == "booting" and id_ in self._stopping)  # cancelled
        )
        resources: tuple[Resource, ...] = (replace(self._me, weights=self._weights()), *instances)
        return Report(kind="node", name=self._me.name, colo=self._me.colo, resources=resources)

    def _hear(self, update: Update) -> None:
        if update.complete or update.kinds & NEWS:
            self._settled_until = 0.0

    def _is_settled(self, running: Mapping[str, RunningInstance]) -> bool:
        """Whether all is as the last step left it, a moment ago, and that was as it should be."""
        managed = self._managed
        is_well = all(each.state == "ready" for each in managed.values())
        is_same = running.keys() == managed.keys() and not self._stopping
        return self._clock.now() < self._settled_until and is_well and is_same

    async def _step(self, boots: asyncio.TaskGroup) -> None:
        if self._is_leaving and not self._managed:
            self._left.set()
        running = await self._driver.running()
        if self._is_settled(running):
            return
        wished = [] if self._is_leaving else self._wishes()
        self._adopt(wished, running)
        dead = self._note_deaths(running)
        wanted = self._wanted(wished)
        now = self._clock.now()
        stopping = self._stopping
        actions = decide(
            wanted=wanted,
            managed={id_: each for id_, each in self._managed.items() if id_ not in stopping},
            idle=[id_ for id_, each in self._managed.items() if self._is_idle(id_, each)],
            listed=[id_ for id_ in self._managed if is_listed(self._world, id_)],
            now=now,
        )
        actions = replace(actions, start=self._that_have_room(actions.start, wanted))
        await self._act(actions, boots)
        if dead or actions != Actions():
            self.changed.set()
        else:
            self._settled_until = self._clock.now() + SETTLED_S

    def _wishes(self) -> list[Wish]:
        return wishes(self._world, node=self._me.name, root=self._root, fetched=self._fetched)

    def _wanted(self, wished: Sequence[Wish]) -> dict[str, InstanceSpec]:
        def calls(spec: InstanceSpec) -> int:
            colo = self._me.colo
            return in_flight(self._world, instance=spec.id, model=spec.model, colo=colo)

        stopping = self._stopping
        wanted = chosen_instances(wished, self._managed, stopping=stopping, calls=calls)
        self._wanted_since = {
            id_: self._wanted_since.get(id_, self._clock.unix_ms()) for id_ in wanted
        }
        return {id_: spec for id_, spec in wanted.items() if id_ not in stopping}

    def _note_deaths(self, running: Mapping[str, RunningInstance]) -> list[str]:
        """See who has died, but of those that are to go anyway; and why."""
        going = {id_ for id_, each in self._managed.items() if each.stop_failures}
        dead = note_deaths(
            self._managed,
            running.keys() | self._stopping | going,
            now=self._clock.now(),
            longest_s=self._longest_backoff_s,
        )
        for id_ in dead:
            cause = self._driver.why_died(id_)
            self._managed[id_].message = cause[-LOG_SHOWN:]
            log.warning("%s died: %s", id_, cause)
        return dead

    def _that_have_room(
        self, starts: Sequence[InstanceSpec], wanted: Mapping[str, InstanceSpec]
    ) -> list[InstanceSpec]:
        """Return what may start now: what goes yet may hold what it needs."""
        there = {id_: each.spec for id_, each in self._managed.items() if each.may_run}
        staying = [spec for id_, spec in there.items() if id_ in wanted]
        going = [spec for id_, spec in there.items() if id_ not in wanted]
        return with_room(starts, staying=staying, going=going, node=self._me)

    def _adopt(self, wished: Sequence[Wish], running: Mapping[str, RunningInstance]) -> None:
        """Take over what runs already: started before this agent was, or by others in its place.

        What is not wanted, too: it may be in use, and is drained like any other.
        """
        for id_, found in running.items():
            if not is_other(self._managed.get(id_), found):
                continue
            spec = self._spec_of(found, wished)
            # with no adapters that are known: so it is given those that it should have
            bare = replace(found.spec or spec, adapters={}, resources=spec.resources)
            self._managed[id_] = self._now("ready", bare, address=found.address)

    def _spec_of(self, found: RunningInstance, wished: Sequence[Wish]) -> InstanceSpec:
        for each in wished:
            if (slot := each.slot_of(found.id)) is not None:
                return each.at(slot)
        model = self._world.table(Model).get(found.model)
        needs = model.resources if model else NOTHING
        return InstanceSpec(
            id=found.id, model=found.model, served_as="", repository=Path(), resources=needs
        )

    async def _act(self, actions: Actions, boots: asyncio.TaskGroup) -> None:
        for spec in actions.start:
            known = self._managed.setdefault(spec.id, self._now("booting", spec))
            known.spec = spec
            self._enter(known, "booting")
            boot = boots.create_task(self._boot(spec), name=f"boot {spec.id}")
            self._boots[spec.id] = boot
        for spec in actions.relink:
            self._managed[spec.id].spec = spec
            boots.create_task(self._relink(spec), name=f"relink {spec.id}")
        for id_ in actions.drain:
            self._enter(self._managed[id_], "draining")
            self._managed[id_].drain_until = self._clock.now() + self._drain_s
        for id_ in actions.undrain:
            self._enter(self._managed[id_], "ready")
        for id_ in actions.stop:
            self._stopping.add(id_)
            boots.create_task(self._stop(id_), name=f"stop {id_}")

    async def _stop(self, id_: str) -> None:
        if boot := self._boots.pop(id_, None):
            boot.cancel()
            await asyncio.wait([boot])
        try:
            await self._driver.stop(id_)
        except Exception as error:  # it may still run
            wait = self._not_stopped(self._managed[id_], error)
            log.exception("%s could not be stopped, trying again in %.0f s", id_, wait)
        else:
            del self._managed[id_]
        self._stopping.discard(id_)
        self.changed.set()

    def _not_stopped(self, known: Managed, error: Exception) -> float:
        """Have it stopped again later, and return when; until then it takes no calls."""
        known.stop_failures += 1
        wait = backoff_s(known.stop_failures, self._longest_backoff_s)
        known.stop_at = self._clock.now() + wait
        known.message = f"could not be stopped: {error!r}"[:LOG_SHOWN]
        if known.state == "booting":
            self._enter(known, "failed")
        return wait

    async def _relink(self, spec: InstanceSpec) -> None:
        """Give a running instance its new adapters; without them it serves on as it was."""
        try:
            await self._driver.start(spec)
        except Exception:
            log.exception("the adapters of %s could not be placed", spec.id)

    async def _boot(self, spec: InstanceSpec) -> None:
        began, began_ms = self._clock.now(), self._clock.unix_ms()
        known = self._managed[spec.id]
        log_, why = "", ""
        try:
            running = await self._driver.start(spec)
        except BootFailed as error:
            why, log_ = error.reason, error.log
        except asyncio.CancelledError:  # wanted no more
            self._tell(spec, began_ms, "canceled")
            raise
        except Exception as error:  # a full disk, say: tried again like any other failure
            log.exception("%s failed to boot for a reason of ours", spec.id)
            why = repr(error)
        else:
            known.address, log_ = running.address, running.log
            known.boot_s = self._clock.now() - began
            known.ready_at = self._clock.now()
            self._enter(known, "ready")
            log.info("%s is ready after %.1f s", spec.id, known.boot_s)
        if why:
            self._boot_failed(known, f"{why}\n{log_[-LOG_SHOWN:]}".rstrip())
        self._tell(spec, began_ms, "failed" if why else "ready", why, log_)
        self.changed.set()

    def _tell(
        self, spec: InstanceSpec, began_ms: int, status: BootStatus, why: str = "", log_: str = ""
    ) -> None:
        self._booted(
            SetupRun(
                instance=spec.id,
                model=spec.model,
                status=status,
                scheduled_ms=min(began_ms, self._wanted_since.get(spec.id, began_ms)),
                started_ms=began_ms,
                completed_ms=self._clock.unix_ms(),
                driver=spec.driver,
                error=why,
                logs=log_,
            )
        )

    def _boot_failed(self, known: Managed, why: str) -> None:
        known.failures += 1
        wait = backoff_s(known.failures, self._longest_backoff_s)
        known.retry_at = self._clock.now() + wait
        known.message = why
        self._enter(known, "failed")
        log.error("%s failed to boot, trying again in %.0f s: %s", known.spec.id, wait, why)

    def _is_idle(self, id_: str, known: Managed) -> bool:
        drained_s = self._clock.now() - (known.drain_until - self._drain_s)
        return (
            known.state == "draining"
            and drained_s >= LEAST_DRAIN_S
            and let_go(self._world, instance=id_, model=known.spec.model, colo=self._me.colo)
        )

    def _now(self, state: InstanceState, spec: InstanceSpec, *, address: str = "") -> Managed:
        return Managed(spec=spec, state=state, since_ms=self._clock.unix_ms(), address=address)

    def _enter(self, known: Managed, state: InstanceState) -> None:
        known.state = state
        known.since_ms = self._clock.unix_ms()

    def _instance(self, id_: str, known: Managed) -> Instance:
        return Instance(
            id=id_,
            model=known.spec.model,
            colo=self._me.colo,
            node=self._me.name,
            address=known.address,
            state=known.state,
            boot_s=known.boot_s,
            since_ms=known.since_ms,
            message=known.message if known.stop_failures or known.state in TOLD else "",
        )
