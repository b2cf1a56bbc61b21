"""The lease: of several controls on one store, one is active, and the others stand by.

The active one beats, in the store, three times as often as it must. Who stands by takes over once
it has seen no beat for the lease's time, by its own clock. The active one counts that time from
before each beat that succeeded, so it knows first that it may have lost the lease; and whatever it
would still write is refused by the store, where every write beats for its term.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.lifecycle import Broken
from services.control.ports import LeaseRow, LeaseStore

BEATS: Final = 3  # within the lease's time
LAST_TRY: Final = 0.1  # of the lease's time, beyond its end
log = logging.getLogger(__name__)


class LeaseLost(Broken):
    """Another control is active, or may be: this one must end."""


class Lease:
    """One control's hold on the lease."""

    def __init__(
        self, store: LeaseStore, *, holder: str, lease_s: float, try_s: float, clock: Clock
    ) -> None:
        """`holder` is the same after a restart, and of one process alone at any time."""
        self._store = store
        self._holder = holder
        self._lease_s = lease_s
        self._try_s = try_s
        self._clock = clock
        self._valid_until = 0.0
        self._waiting = 0
        self._is_watched = True  # until the first beat shows that nobody stands by
        self.has_standby = False  # as the last beat showed

    def __repr__(self) -> str:
        return f"<Lease {self._holder}{' watched' if self._is_watched else ''}>"

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait for the lease and hold it while inside; LeaseLost ends what is inside."""
        await self._acquire()
        inside = asyncio.current_task()
        lost: list[LeaseLost] = []

        async def keep() -> None:
            try:
                await self._keep()
            except LeaseLost as error:
                lost.append(error)
                if inside:
                    inside.cancel()

        keeping = asyncio.create_task(keep(), name="control: lease")
        try:
            yield
        except asyncio.CancelledError:
            if lost:
                raise lost[0] from None
            raise
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            if not lost:
                await self._release()

    async def _acquire(self) -> None:
        seen = await self._store.lease()
        since = self._clock.now()
        said = False
        while True:
            began = self._clock.now()
            is_free = seen.holder in ("", self._holder) or began - since >= self._lease_s
            if is_free and await self._take(seen):
                self._valid_until = began + self._lease_s
                self._waiting, self._is_watched = seen.waiting, True
                log.info("%s is active", self._holder)
                return
            if not is_free and not said:
                said = True
                log.warning("%s is active: standing by", seen.holder)
            await asyncio.sleep(self._try_s)
            found = await self._look()
            if found is not None and (found.term, found.beat) != (seen.term, seen.beat):
                seen, since = found, self._clock.now()

    async def _take(self, seen: LeaseRow) -> bool:
        try:
            return await self._store.take_lease(seen, self._holder)
        except Unavailable as error:
            log.warning("the lease cannot be taken: %s", error)
            return False

    async def _look(self) -> LeaseRow | None:
        """Say that one stands by, and see who is active."""
        try:
            await self._store.stand_by()
            return await self._store.lease()
        except Unavailable as error:
            log.warning("cannot see who is active: %s", error)
            return None

    async def _keep(self) -> None:
        """Beat until the lease is lost.

        Where the store is away nobody can take the lease, so who is alone goes on, and only writes
        fail; but if somebody stood by, that one may have the store still.
        """
        said = False
        while True:
            await asyncio.sleep(max(0.0, self._left_s()))
            began = self._clock.now()
            try:
                # Whoever was slow itself still asks, before it gives up.
                async with asyncio.timeout(max(self._left_s(), self._lease_s * LAST_TRY)):
                    row = await self._store.renew_lease()
            except (Unavailable, TimeoutError) as error:
                if self._left_s() <= 0:
                    why = "the lease could not be renewed, and another stands by"
                    raise LeaseLost(why) from None
                if not said:
                    why = str(error) or "the store does not answer"
                    log.warning("the lease is not renewed: %s", why)
                said = True
                continue
            if row is None:
                raise LeaseLost("another control is active by now")
            said = False
            self._valid_until = began + self._lease_s
            self._is_watched = self.has_standby = row.waiting != self._waiting
            self._waiting = row.waiting

    def _left_s(self) -> float:
        """Return how long to wait for anything; nothing: another may be active from now on."""
        every_s = self._lease_s / BEATS
        if not self._is_watched:
            return every_s
        return min(every_s, self._valid_until - self._clock.now())

    async def _release(self) -> None:
        try:
            await self._store.release_lease()
        except Unavailable as error:
            log.warning("the lease is not given back, and will run out: %s", error)
