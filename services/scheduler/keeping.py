"""What outlives the scheduler: series and boot times, saved in turn, and every decision.

A store that fails costs what it would have kept, and no decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from zlib import crc32

from libs.common.errors import Unavailable
from libs.common.world_map import Decision
from services.scheduler.boots import Boots
from services.scheduler.ports import DecisionLog, History, Kept
from services.scheduler.sizing import Sizer
from services.scheduler.usage import Key

SLOTS = 60  # a save's period has so many: the series are spread over them
log = logging.getLogger(__name__)


class Keeping:
    """Saves each series once in `every_s`, each at a moment of its own."""

    def __init__(self, *, history: History, log: DecisionLog, every_s: float) -> None:
        self._history = history
        self._log = log
        self._slot_s = every_s / SLOTS
        self._slot: int | None = None  # up to which all is saved
        self._is_failing = False

    def __repr__(self) -> str:
        return f"<Keeping every {self._slot_s * SLOTS:g} s in {self._history!r}>"

    async def restore(self, sizer: Sizer, boots: Boots) -> None:
        """Give back what was kept."""
        try:
            kept = await self._history.load()
        except Unavailable as error:
            self._failed(error)
            return
        sizer.restore({key: each.series for key, each in kept.items()})
        boots.known.update({key: each.boot_s for key, each in kept.items() if each.boot_s})

    async def keep(
        self, decisions: Sequence[Decision], sizer: Sizer, boots: Boots, *, now: float
    ) -> None:
        """Keep decisions, and the series whose moment has come, or came as that failed."""
        slot = int(now / self._slot_s)
        self._slot = slot - 1 if self._slot is None else self._slot
        due = {each % SLOTS for each in range(self._slot + 1, slot + 1)[-SLOTS:]}
        try:
            await self._log.add(decisions)
            await self._save([key for key in sizer.following if _slot_of(key) in due], sizer, boots)
        except Unavailable as error:
            self._failed(error)
        else:
            self._slot, self._is_failing = slot, False

    async def save_all(self, sizer: Sizer, boots: Boots) -> None:
        """Save every series, before the end."""
        try:
            await self._save(list(sizer.following), sizer, boots)
        except Unavailable as error:
            self._failed(error)

    async def _save(self, keys: Sequence[Key], sizer: Sizer, boots: Boots) -> None:
        measured = boots.measured()
        saved: dict[Key, Kept] = {}
        for key in keys:
            if (series := sizer.saved(key)) is not None:
                saved[key] = Kept(series, measured.get(key, 0.0))
            await asyncio.sleep(0)  # in turns, as the scheduler's steps
        await self._history.save(saved)

    def _failed(self, error: Unavailable) -> None:
        if not self._is_failing:  # once, until it works again
            log.error("decisions and history are not kept: %s", error)
        self._is_failing = True


def _slot_of(key: Key) -> int:
    return crc32(f"{key.region}/{key.model}".encode()) % SLOTS
