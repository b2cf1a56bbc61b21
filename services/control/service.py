"""Control: one snapshot of everything, fed by reports and writes, with an owner for each shard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from libs.common.account_limits import DAY_MS
from libs.common.catalog import Finetune, Model
from libs.common.clock import Clock
from libs.common.errors import Unavailable, UnknownModel
from libs.common.explanation import Explanation, Question, explained
from libs.common.ports import EventSink, Granted
from libs.common.process import Peer
from libs.common.staged_files import Staged
from libs.common.world_map import (
    KIND_OF,
    Account,
    Assignment,
    Colo,
    Decision,
    Instance,
    Node,
    Ref,
    Report,
    Resource,
    Server,
    Shard,
    Token,
    Update,
    ref,
)
from services.control import ownership
from services.control.endpoint_events import EndpointEvents
from services.control.external import external_instances
from services.control.finetunes import Finetunes, Limits
from services.control.lease import Lease
from services.control.machines import Machines
from services.control.peers import Peers
from services.control.ports import Assets, Explainer, StayStore, Store
from services.control.reporters import Reporter, Reporters
from services.control.settings import Settings
from services.control.sharing import Sharing
from services.control.snapshot import Snapshot
from services.control.spent import KeptSpent, limit_in
from services.control.tokens import default_access
from services.control.writes import LASTING, check_kind, check_write

T = TypeVar("T")
First = Callable[[], Awaitable[None]] | None
JUDGED = {"model", "colo", "server"}  # what ownership and external instances depend on
STORE_RETRY_S = 1.0
log = logging.getLogger(__name__)


class Control:
    """Implements `ControlPlane`; answers inside of `running` alone."""

    def __init__(
        self,
        *,
        store: Store,
        stays: StayStore,
        lease: Lease,
        assets: Assets,
        catalog: Sequence[Resource | Staged],
        clock: Clock,
        settings: Settings,
        limits: Limits,
        explainer: Explainer | None = None,
    ) -> None:
        self._store = store
        self._stays = stays
        self._lease = lease
        self._catalog = [each for each in catalog if not isinstance(each, Staged)]
        self._clock = clock
        self._settings = settings
        self._explainer = explainer
        begun = clock.unix_ms()  # so that what is numbered from here grows over restarts
        self._snapshot = Snapshot(first_version=begun, bound=settings.watch_bound)
        world = self._snapshot.world
        world.listen(self._on_change)
        self._snapshot.stage(each for each in catalog if isinstance(each, Staged))
        self._peers = Peers()
        self._reporters = Reporters(
            self._snapshot,
            gone_s=settings.report_gone_s,
            silent_s=settings.silent_s,
            heard=self._on_heard,
            unix_ms=clock.unix_ms,
            forgotten=self._peers.forget,
        )
        self._machines = Machines(
            world=world, store=store, reporters=self._reporters, clock=clock, settings=settings
        )
        self._kept: set[Ref] = set()  # what the store has, which stands over the catalog's files
        self.finetunes = Finetunes(
            world=world, write=self.change, assets=assets, limits=limits, clock=clock
        )
        self._sharing = Sharing(
            keep_s=settings.share_keep_s, limit=partial(limit_in, world), first_number=begun
        )
        self._spent = KeptSpent(
            sharing=self._sharing,
            world=world,
            write=lambda spent: self._through(self._write(spent, [])),
            every_s=settings.spent_s,
        )
        # in the catalog's files, which are not those that are served then
        self.mistakes: Sequence[str] = ()
        self._active_since = 0.0
        self._running = False
        self._awaited: set[Reporter] = set()
        self._settled = asyncio.Event()
        self._unjudged = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        state = "settled" if self._settled.is_set() else f"awaits {len(self._awaited)}"
        return f"<Control {state} {self._snapshot!r} {self._reporters!r}>"

    @asynccontextmanager
    async def running(self, *, token: str = "", first: First = None) -> AsyncIterator[None]:
        """Wait for the lease, answer after `first`, let writes finish on the way out."""
        try:
            async with self._lease.held():
                if first is not None:  # who stood by has read the catalog long ago
                    await first()
                async with self._answering(token):
                    yield
        finally:
            await self._store.close()

    @asynccontextmanager
    async def _answering(self, token: str) -> AsyncIterator[None]:
        loops: list[asyncio.Task[None]] = []
        try:
            await self._load(token)
            loops.append(asyncio.create_task(self._judge_forever(), name="control: ownership"))
            loops.append(asyncio.create_task(self._settle(), name="control: grace"))
            loops.append(asyncio.create_task(self._spent.run(), name="control: spent"))
            loops.append(asyncio.create_task(self._machines.run(), name="control: nodes"))
            yield
        finally:
            self.stop()
            for each in loops:
                each.cancel()
            await asyncio.gather(*loops, *self._writes, return_exceptions=True)
            await self._spent.keep()
            await self._machines.keep()

    def stop(self) -> None:
        """End all streams; refuse what comes from now on."""
        self._running = False
        self._settled.set()
        self._reporters.close()
        self._snapshot.close()

    async def watch(self, colo: str = "") -> AsyncGenerator[Update, None]:
        """Yield everything once, then every change, with what is staged in the reader's colo."""
        await self._settled.wait()
        self._must_run()
        watching = self._snapshot.watch(colo)
        try:
            async for update in watching:
                yield update
        finally:
            await watching.aclose()

    async def report(self, reports: AsyncIterator[Report], granted: Granted | None = None) -> None:
        """Take a reporter's reports; their end is its goodbye."""
        self._must_run()

        def taken(report: Report) -> None:
            now, unix_ms = self._clock.now(), self._clock.unix_ms()
            self._peers.heard(report, now=now, unix_ms=unix_ms, version=self._snapshot.version)
            if report.use is not None and granted is not None:
                day = unix_ms // DAY_MS
                granted(self._sharing.heard(report.name, report.use, now=now, day=day))

        await self._reporters.follow(reports, taken)

    async def put(self, resource: Resource) -> int:
        """Write a resource and return the version that has it."""
        self._must_run()
        check_write(resource, self._snapshot.world)
        if self._snapshot.get(ref(resource)) == resource:
            return self._snapshot.world.version
        if KIND_OF[type(resource)] in LASTING:
            return await self.change([resource], [])
        return self._snapshot.change([resource])

    async def delete(self, name: Ref) -> int:
        """Remove a resource, and an account with its finetunes.

        One of the catalog's files is back at the next start.
        """
        self._must_run()
        check_kind(name.kind)
        if self._snapshot.get(name) is None:
            return self._snapshot.world.version
        if name.kind not in LASTING:
            return self._snapshot.change(deletes=[name])
        with_it = self.finetunes.of_account(name.key) if name.kind == "account" else []
        spent = [Ref("spent", name.key)] if name.kind == "account" else []
        version = await self.change([], [name, *with_it, *spent])
        if with_it or name.kind == "finetune":
            await self.finetunes.sweep()
        return version

    async def change(self, puts: Sequence[Resource], deletes: Sequence[Ref]) -> int:
        """Write what lasts, all of it or nothing, and return the version that has it."""
        self._must_run()
        return await self._through(self._write(puts, deletes))

    async def explain(self, question: Question) -> Explanation:
        """Return what was decided about a model; without a scheduler here, what is known of it."""
        self._must_run()
        known = self._snapshot.world.model(question.model)
        if known is None:
            raise UnknownModel(f"no such model: {question.model}")
        if self._explainer is not None:
            return await self._explainer.explain(replace(question, model=known.name))
        decisions = self._snapshot.world.table(Decision).values()
        return explained(decisions, replace(question, model=known.name))

    @property
    def is_active(self) -> bool:
        """Whether it answers, and does not stand by."""
        return self._running

    @property
    def watchers(self) -> int:
        """How many follow it."""
        return self._snapshot.watchers

    @property
    def active_s(self) -> float:
        """How long it has been active."""
        return self._clock.now() - self._active_since

    @property
    def has_standby(self) -> bool:
        """Whether another would take over."""
        return self._lease.has_standby

    def peers(self) -> tuple[Peer, ...]:
        """Return all that report, or should, and how they are."""
        return self._peers.all(self.reporting(), now=self._clock.now(), since=self._active_since)

    def reporting(self) -> dict[Reporter, bool]:
        """Return those that it has heard of or should hear from, and whether their reports come."""
        found = self._reporters.reporting()
        for each in tuple(self._snapshot.world.table(Assignment).values()):
            if each.instances:
                found.setdefault(Reporter("node", each.node), False)
        return found

    @property
    def staged(self) -> list[tuple[str, str]]:
        """Return the colo and the model of each change that is tried in one colo first."""
        return self._snapshot.staging.staged

    def take_catalog(self, found: Sequence[Resource | Staged]) -> None:
        """Take the catalog's files as they are now, but for what was written over them."""
        self.mistakes = ()
        catalog = [each for each in found if not isinstance(each, Staged)]
        then = {ref(each): each for each in self._catalog if isinstance(each, Model | Finetune)}
        now = {ref(each): each for each in catalog}
        others = [each for each in self._catalog if ref(each) not in then]
        self._catalog = [*others, *catalog]
        puts = [each for name, each in now.items() if name not in self._kept]
        gone = [name for name in then.keys() - now.keys() if name not in self._kept]
        self._snapshot.change(puts, gone)
        if self._snapshot.stage(each for each in found if isinstance(each, Staged)):
            self._unjudged.set()

    def refuse_catalog(self, mistakes: Sequence[str]) -> None:
        """Note that the catalog's files have mistakes, so that what was good before is served."""
        self.mistakes = mistakes

    async def track_endpoints(self, sink: EventSink, *, hostname: str) -> None:
        """Tell of endpoints that come and go, until cancelled.

        Nothing has left as long as those that the last control knew may not have reported yet.
        """
        await self._settled.wait()
        if self._running:
            events = EndpointEvents(
                world=self._snapshot.world,
                store=self._stays,
                sink=sink,
                hostname=hostname,
                clock=self._clock,
            )
            await events.run()

    def _must_run(self) -> None:
        if not self._running:
            raise Unavailable("control is not running")

    async def _load(self, token: str) -> None:
        kept = await self._store.open()
        lasting = [each for each in kept if not isinstance(each, Node | Instance)]
        self._kept = {ref(each) for each in lasting}
        self._snapshot.change([*self._catalog, *lasting])
        await self.finetunes.open()
        world, now = self._snapshot.world, self._clock.unix_ms()
        if token:
            accounts, tokens = world.table(Account), world.table(Token)
            puts, deletes = default_access(token, accounts=accounts, tokens=tokens, at_ms=now)
            await self._write(puts, deletes)
        self._spent.remember(today=now // DAY_MS)
        colos = world.table(Colo)
        owned = [each for each in world.table(Shard).values() if each.colo in colos]
        self._awaited = {Reporter("server", each.owner) for each in owned if each.owner}
        # one without a colo is of a control that did not note it yet
        assigned = [a for a in world.table(Assignment).values() if not a.colo or a.colo in colos]
        names = (*self._machines.restore(kept), *(each.node for each in assigned))
        self._awaited |= {Reporter("node", name) for name in names}
        self._running, self._active_since = True, self._clock.now()

    async def _settle(self) -> None:
        """Wait for those that the last control knew; until then nobody is judged or told."""
        try:
            async with asyncio.timeout(self._settings.grace_s):
                if self._awaited:
                    await self._settled.wait()
        except TimeoutError:
            log.warning("not back: %s", ", ".join(sorted(name for _, name in self._awaited)))
        self._settled.set()
        self._unjudged.set()

    def _on_heard(self, reporter: Reporter) -> None:
        self._awaited.discard(reporter)
        if not self._awaited:
            self._settled.set()

    def _on_change(self, update: Update) -> None:
        if update.kinds & JUDGED:
            self._unjudged.set()

    async def _judge_forever(self) -> None:
        while True:
            await self._unjudged.wait()
            self._unjudged.clear()
            try:
                await self._judge()
            except Unavailable as error:
                log.error("shards cannot move, trying again: %s", error)
                self._unjudged.set()
                await asyncio.sleep(STORE_RETRY_S)
            except Exception:  # a bug here must not end ownership for good
                log.exception("shards cannot move")

    async def _judge(self) -> None:
        """Bring what control itself makes in line: external instances and owners of shards."""
        world = self._snapshot.world
        models, colos = world.table(Model).values(), world.table(Colo).values()
        present = {key: each for key, each in world.table(Instance).items() if each.external}
        external = external_instances(
            models,
            colos,
            known=present,
            at_ms=self._clock.unix_ms(),
            seen=self._snapshot.staging.model,
        )
        gone = [Ref("instance", key) for key in present.keys() - external.keys()]
        self._snapshot.change(external.values(), gone)
        if self._settled.is_set():
            wanted = ownership.wanted_shards(models, colos)
            servers = world.table(Server).values()
            moved = ownership.judge(wanted, world.table(Shard), servers)
            # stored before it is told: an epoch must never be given out twice
            await self._through(self._write(moved, []))

    async def _write(self, puts: Sequence[Resource], deletes: Sequence[Ref]) -> int:
        async with self._writing:
            await self._store.write(puts, deletes)
            self._kept.update(ref(each) for each in puts)
            self._kept.difference_update(deletes)
            return self._snapshot.change(puts, deletes)

    async def _through(self, write: Coroutine[Any, Any, T]) -> T:
        """Finish a write even if its caller leaves: store and snapshot must not part."""
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)
