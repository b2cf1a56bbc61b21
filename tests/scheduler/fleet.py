"""A fleet that boots as told, in virtual time, and a scheduler that decides on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from libs.common.catalog import Backend, Model, Permits, Scaling
from libs.common.errors import Unavailable
from libs.common.explanation import Question
from libs.common.lifecycle import background
from libs.common.spans import Spans
from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    Colo,
    Decision,
    Instance,
    Node,
    Override,
    Ref,
    Resource,
    ShardLoad,
    Update,
    ref,
)
from services.scheduler.keeping import Keeping
from services.scheduler.loop import Scheduler, Settings
from services.scheduler.metrics import Metrics
from services.scheduler.placement import FleetState, Seat
from services.scheduler.plan import Plan
from services.scheduler.ports import Kept
from services.scheduler.snapshots import Snapshots
from services.scheduler.usage import Key
from tests.virtual_time import VirtualClock

MODEL = Model(
    name="m",
    task="dumb-pipe",
    tier="gold",
    backend=Backend(repository="models/m", dedicated=True),
    permits=Permits(per_instance=4),
    scaling=Scaling(min=1, max=9, boot_s=20.0),
)
EU = Key("m", "eu")


class MemoryArchive:
    """Implements `ports.History` and `ports.DecisionLog`; a fake, for it writes no file."""

    def __init__(self) -> None:
        self.kept: dict[Key, Kept] = {}
        self.decisions: list[Decision] = []
        self.saves = 0
        self.is_away = False

    async def load(self) -> Mapping[Key, Kept]:
        self._must_be_there()
        return dict(self.kept)

    async def save(self, kept: Mapping[Key, Kept]) -> None:
        self._must_be_there()
        self.kept.update(kept)
        self.saves += len(kept)

    async def add(self, decisions: Sequence[Decision]) -> None:
        self._must_be_there()
        self.decisions += decisions

    async def find(self, question: Question) -> tuple[Decision, ...]:
        self._must_be_there()
        mine = [each for each in self.decisions if each.model == question.model]
        return tuple(reversed(mine))[: question.count]

    def _must_be_there(self) -> None:
        if self.is_away:
            raise Unavailable("away")


class Site:
    """Nodes whose instances are ready `boot_s` after they were asked for; implements Fleet."""

    def __init__(self, *models: Model, boot_s: float = 20.0, cpus: float = 64.0) -> None:
        self.world = World()
        self.archive = MemoryArchive()
        self.snapshots = Snapshots()
        self.registry = CollectorRegistry()  # of the scheduler that decides on it now
        self.boot_s = boot_s
        self.errors: list[Exception] = []
        self.told: list[tuple[float, int]] = []  # when, and how many instances of the first model
        self._boots: set[asyncio.Task[None]] = set()
        node = Node(name="n1", colo="ams", cpus=cpus, gpu_model="A100")
        puts = (Colo(name="ams", region="eu"), node, *(models or (MODEL,)))
        self.world.apply(Update(version=1, complete=True, puts=puts))

    def put(self, *resources: Resource) -> None:
        self.world.apply(Update(version=self.world.version + 1, puts=resources))

    def delete(self, *names: Ref) -> None:
        self.world.apply(Update(version=self.world.version + 1, deletes=names))

    def load(self, in_flight: int, queued: int = 0, *, model: str = "m", **more: object) -> None:
        """Say how full the model's shard is."""
        values: dict[str, object] = {"permits": 4, "free": 4, "boot_epoch": 1}
        self.put(
            ShardLoad(
                model=model,
                colo="ams",
                index=0,
                server="s",
                in_flight=in_flight,
                queued=queued,
                **(values | more),  # type: ignore[arg-type]
            )
        )

    def state(self) -> FleetState:
        assigned = {
            Seat(each.node, each.model): each.instances
            for each in self.world.table(Assignment).values()
        }
        return FleetState(nodes=list(self.world.table(Node).values()), assigned=assigned)

    async def apply(self, plan: Plan) -> None:
        if self.errors:
            raise self.errors.pop()
        self.delete(*plan.deletes)
        self.put(*plan.puts, *plan.decisions)
        for each in plan.puts:
            self.told.append((asyncio.get_running_loop().time(), each.instances))
            self._follow(each.model, each.instances)
        for name in plan.deletes:
            if name.kind == "assignment":
                self._follow(name.key.partition("/")[2], 0)

    def instances(self, model: str = "m") -> int:
        return sum(a.instances for a in self.world.table(Assignment).values() if a.model == model)

    def ready(self) -> int:
        return sum(each.state == "ready" for each in self.world.table(Instance).values())

    def decision(self) -> Decision:
        return self.world.table(Decision)["m@eu"]

    def override(self, **fields: object) -> None:
        self.put(Override(model="m", **fields))  # type: ignore[arg-type]

    def _follow(self, model: str, count: int) -> None:
        there = [each for each in self.world.table(Instance).values() if each.model == model]
        self.delete(*(ref(each) for each in there[count:]))
        for number in range(len(there), count):
            made = Instance(
                id=f"{model}/{number}",
                model=model,
                colo="ams",
                node="n1",
                since_ms=VirtualClock().unix_ms(),
            )
            self.put(made)
            booting = asyncio.get_running_loop().create_task(self._boot(made))
            self._boots.add(booting)
            booting.add_done_callback(self._boots.discard)

    async def _boot(self, made: Instance) -> None:
        await asyncio.sleep(self.boot_s)
        if made.id in self.world.table(Instance):
            self.put(
                Instance(
                    id=made.id,
                    model=made.model,
                    colo="ams",
                    node="n1",
                    state="ready",
                    boot_s=self.boot_s,
                    since_ms=VirtualClock().unix_ms(),
                )
            )


@asynccontextmanager
async def scheduling(
    site: Site, *, spans: Spans | None = None, **settings: object
) -> AsyncIterator[Scheduler]:
    """Decide on the site while inside."""
    site.registry = CollectorRegistry()
    scheduler = Scheduler(
        world=site.world,
        fleet=site,
        keeping=Keeping(history=site.archive, log=site.archive, every_s=300.0),
        snapshots=site.snapshots,
        metrics=Metrics(site.registry),
        clock=VirtualClock(),
        settings=Settings(**settings),  # type: ignore[arg-type]
        spans=spans,
    )
    async with background(scheduler.run(), name="scheduler"):
        yield scheduler
