"""Tells of endpoints that come into the world map and leave it, as control's own events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.ports import EventSink
from libs.common.world import World
from libs.common.world_map import Instance, Update
from services.control.endpoint_tracker import (
    AvailableEndpointTracker,
    Stay,
    endpoints_of,
    event_of,
)
from services.control.ports import StayStore

# Where all ends at once, so much is not known of when an endpoint left.
SEEN_EVERY_S: Final = 30.0
STORE_RETRY_S: Final = 1.0
log = logging.getLogger(__name__)


class EndpointEvents:
    """Looks at each change, keeps what comes of it, and only then tells.

    So a control that takes over knows all that was told, and what another has taken over already
    cannot tell any more: the store refuses it.
    """

    def __init__(
        self, *, world: World, store: StayStore, sink: EventSink, hostname: str, clock: Clock
    ) -> None:
        self._world = world
        self._store = store
        self._sink = sink
        self._hostname = hostname
        self._clock = clock
        self._changed = asyncio.Event()
        self._tracker = AvailableEndpointTracker()
        world.listen(self._on_change)

    def __repr__(self) -> str:
        return f"<EndpointEvents {self._tracker!r}>"

    async def run(self) -> None:
        """Go on from what is kept, until cancelled; the world is to be complete by now."""
        kept, seen_ts = await self._kept()
        self._tracker = AvailableEndpointTracker(kept, seen_ts=seen_ts)
        while True:
            self._changed.clear()
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(SEEN_EVERY_S):
                    await self._changed.wait()

    async def _look(self) -> None:
        endpoints = endpoints_of(self._world.table(Instance).values())
        now = self._clock.unix_ms()
        changed = self._tracker.look(endpoints, at_ms=now)
        if changed or self._tracker.present:
            await self._keep(changed, now)
        for each in changed:
            self._sink.emit(event_of(each, hostname=self._hostname))

    async def _kept(self) -> tuple[Sequence[Stay], int]:
        while True:
            try:
                return await self._store.stays()
            except Unavailable as error:
                log.error("endpoints are not tracked, trying again: %s", error)
            await asyncio.sleep(STORE_RETRY_S)

    async def _keep(self, changed: Sequence[Stay], now: int) -> None:
        """Keep what has changed, whenever that can be done."""
        said = False
        while True:
            try:
                await self._store.keep_stays(changed, seen_ts=now)
                return
            except Unavailable as error:
                if not said:
                    log.error("endpoints that came or left are not told yet: %s", error)
                said = True
            await asyncio.sleep(STORE_RETRY_S)

    def _on_change(self, update: Update) -> None:
        if "instance" in update.kinds:
            self._changed.set()
