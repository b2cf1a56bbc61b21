"""The state of everything with its version, and those who watch it change.

All changes are synchronous, so every watcher sees all of them, in one order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable

from libs.common.catalog import Model
from libs.common.errors import FellBehind, RequestError, Unavailable
from libs.common.staged_files import Staged
from libs.common.world import World
from libs.common.world_map import Ref, Resource, Update, ref
from services.control.staging import Staging


class Snapshot:
    """Applies changes to `world` and hands them to its watchers."""

    def __init__(self, *, first_version: int = 0, bound: int = 1024) -> None:
        self.world = World()
        self.world.apply(Update(version=first_version, complete=True))
        self.staging = Staging()
        self._bound = bound
        self._watchers: set[_Watcher] = set()

    def __repr__(self) -> str:
        return f"<Snapshot {self.world!r} watchers={len(self._watchers)}>"

    @property
    def version(self) -> int:
        """Which grows with every change."""
        return self.world.version

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def get(self, name: Ref) -> Resource | None:
        """Return one resource."""
        return self.world.get(name)

    def change(self, puts: Iterable[Resource] = (), deletes: Iterable[Ref] = ()) -> int:
        """Apply what is really a change, if anything is, and return the version that has it."""
        new = tuple(each for each in puts if self.get(ref(each)) != each)
        gone = tuple(name for name in deletes if self.get(name) is not None)
        if new or gone:
            update = Update(version=self.world.version + 1, puts=new, deletes=gone)
            self.world.apply(update)
            for watcher in tuple(self._watchers):
                watcher.hand(self.staging.seen(update, watcher.colo))
        return self.world.version

    def stage(self, staged: Iterable[Staged]) -> bool:
        """Show readers in a colo its models; return whether anything is other than before."""
        changed = self.staging.stage(staged)
        if changed:
            self.world.apply(Update(version=self.world.version + 1))
        models = self.world.table(Model)
        for watcher in tuple(self._watchers):
            if names := changed.get(watcher.colo):
                puts = tuple(models[name] for name in sorted(names) if name in models)
                update = Update(version=self.world.version, puts=puts)
                watcher.hand(self.staging.seen(update, watcher.colo))
        return bool(changed)

    async def watch(self, colo: str = "") -> AsyncGenerator[Update, None]:
        """Yield everything, then every change; FellBehind for a reader that is too slow.

        A reader in a colo sees what is staged there; one without a colo sees the catalog.
        """
        watcher = _Watcher(self._bound, colo)
        self._watchers.add(watcher)
        try:
            yield self.staging.seen(self.world.everything(), colo)
            while True:
                yield await watcher.next()
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End all watches."""
        for watcher in self._watchers:
            watcher.fail(Unavailable("control is stopping"))


class _Watcher:
    """The bounded queue of one reader."""

    def __init__(self, bound: int, colo: str) -> None:
        self.colo = colo
        self._bound = bound
        self._updates: deque[Update] = deque()
        self._error: RequestError | None = None
        self._ready = asyncio.Event()

    def hand(self, update: Update) -> None:
        """Queue an update, or give the reader up."""
        if len(self._updates) >= self._bound:
            self.fail(FellBehind(f"more than {self._bound} changes behind"))
        elif self._error is None:
            self._updates.append(update)
            self._ready.set()

    def fail(self, error: RequestError) -> None:
        """End the watch with an error; what is queued is of no use any more."""
        self._error = self._error or error
        self._updates.clear()
        self._ready.set()

    async def next(self) -> Update:
        """Wait for the next update."""
        while not self._updates:
            if self._error is not None:
                raise self._error
            self._ready.clear()
            await self._ready.wait()
        return self._updates.popleft()
