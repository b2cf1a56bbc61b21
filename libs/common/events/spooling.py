"""A spool with the thread that does what takes its time: reads, syncs and removals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from libs.common.events.spool import Spool, SpoolConfig, sync
from libs.common.events.spool_records import Chunk
from libs.common.events.values import Boot

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolingConfig:
    """Where a sink spools, and how often it looks after that."""

    # Folder of the spools of all servers that share a collector.
    folder: Path
    bounds: SpoolConfig = field(default_factory=SpoolConfig)
    # What waits for so long is brought to the disk: for a machine that loses its power.
    sync_seconds: float = 1.0
    # Between two looks for what servers have left behind that never came back.
    adopt_seconds: float = 60.0


class Owner(Protocol):
    """Whose spool it is."""

    @property
    def is_connected(self) -> bool: ...
    def look_again(self) -> None: ...
    def adopted(self) -> None: ...


class Spooling:
    """Belongs to one loop, whose thread waits for no disk but in an append to a file."""

    def __init__(self, config: SpoolingConfig, *, server: str) -> None:
        self._config = config
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="event-spool")
        self._epoch = 0
        self.spool = Spool(
            config.folder, server=server, config=config.bounds, later=self._thread.submit
        )

    async def open(self, boot_epoch: int) -> int:
        """Begin this boot's spool; return its epoch, a later one if that one is taken.

        Where the disk refuses, nothing is spooled until it does no more.
        """
        spool = self.spool
        self._epoch = boot_epoch
        try:
            folders = await self._apart(partial(spool.prepare, boot_epoch))
        except OSError as error:
            spool.failed(error)
        else:
            self._epoch = spool.begin(folders)
        return self._epoch

    async def read(self, *, most_events: int, most_bytes: int) -> tuple[Boot, Chunk] | None:
        """Return the next events that have to be read before they can be sent, if any."""
        look = self.spool.look(most_events=most_events, most_bytes=most_bytes)
        if look is None:
            return None
        chunk = await self._apart(look.read)
        self.spool.found(look, chunk)
        return look.folder.boot, chunk

    async def keep(self, owner: Owner) -> None:
        """Sync, and look for what others have left behind, while it can be sent at once."""
        loop = asyncio.get_running_loop()
        adopt_at = loop.time() + self._config.adopt_seconds
        while True:
            await asyncio.sleep(self._config.sync_seconds)
            try:
                owner.look_again()
                await self._sync()
                if owner.is_connected and loop.time() >= adopt_at:
                    adopt_at = loop.time() + self._config.adopt_seconds
                    if folders := await self._apart(self.spool.abandoned):
                        self.spool.adopt(folders)
                        owner.adopted()
            except OSError as error:
                self.spool.failed(error)
            except Exception:
                log.exception("the spool could not be looked after")  # a bug: try again

    async def close(self) -> None:
        """Leave what is not acknowledged to the next boot."""
        await self._apart(self.spool.close)
        self._thread.shutdown(wait=False)

    async def _sync(self) -> None:
        if not self.spool.is_open:
            self.spool.begin(await self._apart(partial(self.spool.prepare, self._epoch, epochs=1)))
        if paths := self.spool.unsynced():
            await self._apart(partial(sync, paths))

    async def _apart(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
