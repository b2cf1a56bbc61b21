"""A copy of what control knows, kept current; every service decides on one.

`follow` keeps it current over lost connections, and on disk, so that a service
that starts while control is away goes on with what it last knew. `keep_reporting`
is the other direction: what a service tells control, again and again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar, cast

from libs.common.backoff import Backoff
from libs.common.catalog import Finetune, Model
from libs.common.errors import RequestError
from libs.common.ports import Granted, Reports, SnapshotFile, Updates
from libs.common.process import Process
from libs.common.world_map import (
    KIND_OF,
    KINDS,
    Assignment,
    Instance,
    Ref,
    Report,
    Resource,
    Update,
    ref,
)

R = TypeVar("R")
SAVE_EVERY_S = 1.0
STEADY_S = 5.0  # a report stream that lived this long was no failed try
SPREAD = 0.8, 1.0  # of the time between two reports
log = logging.getLogger(__name__)


class World:
    """The resources by kind and key, and who wants to hear of changes."""

    def __init__(self) -> None:
        self.version = 0
        self.complete = False
        self._tables: dict[str, dict[str, Resource]] = {kind: {} for kind in KINDS}
        self._names: dict[str, Model] = {}
        self._finetunes: dict[tuple[str, str], Finetune] = {}  # by account, and id or name
        self._listeners: list[Callable[[Update], None]] = []
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        sizes = " ".join(f"{kind}={len(table)}" for kind, table in self._tables.items() if table)
        return f"<World version={self.version} {sizes}>"

    def table(self, cls: type[R]) -> Mapping[str, R]:
        """Return all resources of one kind, by key."""
        return cast(Mapping[str, R], self._tables[KIND_OF[cls]])  # type: ignore[index]

    def get(self, name: Ref) -> Resource | None:
        """Return one resource."""
        return self._tables.get(name.kind, {}).get(name.key)

    def model(self, name: str) -> Model | None:
        """Return a model by its name or one of its aliases."""
        return self._names.get(name)

    def finetune(self, name: str, *, account: str) -> Finetune | None:
        """Return a finetune that the account may use, by id or name; its own before public ones."""
        return self._finetunes.get((account, name)) or self._finetunes.get(("", name))

    def instances(self, *, model: str, colo: str) -> list[Instance]:
        """Return the instances of a model in a colo."""
        every = self.table(Instance).values()
        return [each for each in every if each.model == model and each.colo == colo]

    def assignments(self, *, node: str) -> list[Assignment]:
        """Return what a node should run."""
        return [each for each in self.table(Assignment).values() if each.node == node]

    def listen(self, listener: Callable[[Update], None]) -> None:
        """Call `listener` after every change; it must not raise or wait."""
        self._listeners.append(listener)

    def everything(self) -> Update:
        """Return all of it as one complete update."""
        puts = tuple(each for table in self._tables.values() for each in table.values())
        return Update(version=self.version, complete=True, puts=puts)

    def apply(self, update: Update) -> None:
        """Take in a change and tell the listeners."""
        if update.complete:
            for table in self._tables.values():
                table.clear()
            self.complete = True
        for resource in update.puts:
            name = ref(resource)
            self._tables[name.kind][name.key] = resource
        for name in update.deletes:
            self._tables[name.kind].pop(name.key, None)
        self.version = update.version
        self._index(update)
        for listener in self._listeners:
            listener(update)
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    async def until(self, condition: Callable[[World], bool]) -> None:
        """Wait until the condition holds."""
        while not condition(self):
            await self.changed()

    def _index(self, update: Update) -> None:
        gone = any(name.kind == "model" for name in update.deletes)
        if update.complete or gone or any(isinstance(each, Model) for each in update.puts):
            models = self.table(Model).values()
            self._names = {alias: each for each in models for alias in each.aliases}
            self._names |= {each.name: each for each in models}
        gone = any(name.kind == "finetune" for name in update.deletes)
        if update.complete or gone or any(isinstance(each, Finetune) for each in update.puts):
            self._finetunes = _findable(self.table(Finetune).values())


def _findable(finetunes: Collection[Finetune]) -> dict[tuple[str, str], Finetune]:
    """Return finetunes by who may use them (empty: everyone), and each of their names.

    An id goes before a name that is the same, and what came first before what came later.
    """
    found: dict[tuple[str, str], Finetune] = {}
    for each in finetunes:
        found.setdefault((each.account, each.name), each)
        if each.is_public:
            found.setdefault(("", each.public_name), each)
    for each in finetunes:
        found[each.account, each.id] = each
        if each.is_public:
            found["", each.id] = each
    return found


async def follow(
    control: Updates,
    world: World,
    *,
    colo: str = "",
    disk: SnapshotFile | None = None,
    backoff: Backoff,
) -> None:
    """Keep `world` current until cancelled; lost connections are made again.

    In a colo, models are as they are staged there.
    """
    if disk and not world.complete and (last := disk.load()):
        world.apply(last)
    unsaved = asyncio.Event()
    saving = asyncio.create_task(_keep_on_disk(disk, world, unsaved)) if disk else None
    failures = _Failures("control is away, going on with what it last said")
    delays = iter(backoff)
    try:
        while True:
            try:
                async for update in control.watch(colo):
                    world.apply(update)
                    delays = iter(backoff)
                    failures.over()
                    if update.complete or _is_lasting(update):
                        unsaved.set()
            except RequestError as error:
                failures.say(error)
            await asyncio.sleep(next(delays))
    finally:
        if saving:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)


async def keep_reporting(
    control: Reports,
    make_report: Callable[[], Report],
    *,
    every_s: float = 1.0,
    pause_s: float = 0.1,
    wake: asyncio.Event | None = None,
    leave: asyncio.Event | None = None,
    granted: Granted | None = None,
    process: Callable[[], Process] | None = None,
    backoff: Backoff,
) -> None:
    """Report every so often, and when woken `pause_s` after the last one, over lost connections.

    Returns when `leave` is set, with a goodbye that makes control forget the reporter at
    once; cancelled instead, the reporter is remembered for the seconds that control grants.
    `process` says how the reporter's process is.
    """
    wake, leave = wake or asyncio.Event(), leave or asyncio.Event()

    def made() -> Report:
        report = make_report()
        return replace(report, process=process()) if process is not None else report

    clock = asyncio.get_running_loop().time
    failures = _Failures("cannot report to control")
    delays = iter(backoff)
    while not leave.is_set():
        began = clock()
        async with aclosing(_reports(made, every_s, pause_s, wake, leave)) as reports:
            try:
                await control.report(reports, granted)
            except RequestError as error:
                failures.say(error)
        if clock() - began > STEADY_S:
            delays = iter(backoff)
            failures.over()
        await _first_of(leave, timeout=next(delays))


async def _reports(
    make_report: Callable[[], Report],
    every_s: float,
    pause_s: float,
    wake: asyncio.Event,
    leave: asyncio.Event,
) -> AsyncGenerator[Report, None]:
    while not leave.is_set():
        wake.clear()  # before the look at the state: what changes after it wakes again
        report = make_report()
        await asyncio.sleep(0)  # control may be in this process, and takes its time over it
        yield report
        await _first_of(leave, timeout=min(pause_s, every_s))
        # Not all at the same moment, or one loop that has many would be late by all their work.
        next_s = every_s * random.uniform(*SPREAD)
        await _first_of(wake, leave, timeout=max(0.0, next_s - pause_s))


async def _first_of(*events: asyncio.Event, timeout: float) -> None:
    """Wait until one of the events is set, or the time is up."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class _Failures:
    """Logs the first failure of each kind in a row, so that a long outage does not fill a disk."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said: set[str] = set()

    def say(self, error: RequestError) -> None:
        """Log the error, unless it only goes on."""
        level = logging.DEBUG if error.reason in self._said else logging.WARNING
        log.log(level, "%s: %s", self._what, error)
        self._said.add(error.reason)

    def over(self) -> None:
        """Forget them: it works again."""
        self._said.clear()


async def _keep_on_disk(disk: SnapshotFile, world: World, unsaved: asyncio.Event) -> None:
    """Save what has changed, at most once in a while, in a thread: it may be large."""
    try:
        while True:
            await unsaved.wait()
            unsaved.clear()
            await _save_beside(disk, world.everything())
            await asyncio.sleep(SAVE_EVERY_S)
    finally:
        if unsaved.is_set():
            _save(disk, world.everything())


async def _save_beside(disk: SnapshotFile, update: Update) -> None:
    """Save in a thread; who cancels waits for it, else it could overwrite what is saved later."""
    saving = asyncio.ensure_future(asyncio.to_thread(_save, disk, update))
    try:
        await asyncio.shield(saving)
    except asyncio.CancelledError:
        await asyncio.wait([saving])
        raise


def _save(disk: SnapshotFile, update: Update) -> None:
    try:
        disk.save(update)
    except OSError as error:  # a full disk: serving goes on, only a restart would miss it
        log.warning("cannot keep the last snapshot on disk: %s", error)


def _is_lasting(update: Update) -> bool:
    """Whether a change is worth a write: loads change every second and are not."""
    return not update.kinds <= {"shard_load", "entry_load", "decision", "spent"}
