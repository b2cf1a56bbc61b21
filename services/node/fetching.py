"""The files of uploaded finetunes, fetched from control for the models that this node runs.

Each finetune has a folder that is there whole or not at all, and whose files never change.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import aclosing
from functools import partial
from pathlib import Path

from libs.common.catalog import Asset, Finetune
from libs.common.clock import Clock
from libs.common.errors import RequestError
from libs.common.finetunes import AssetSource
from libs.common.finishing import in_thread
from libs.common.incoming import Incoming, sync_folder
from libs.common.world import World
from services.node.reconcile import backoff_s

log = logging.getLogger(__name__)


class Damaged(Exception):
    """What came is not the file that was asked for."""


class Fetching:
    """Keeps `folder` as the world's finetunes are; a few at once, those that failed later."""

    def __init__(
        self,
        *,
        node: str,
        folder: Path,
        source: AssetSource,
        world: World,
        clock: Clock,
        at_once: int,
        step_s: float,
        longest_backoff_s: float,
    ) -> None:
        self._node = node
        self._folder = folder
        self._source = source
        self._world = world
        self._clock = clock
        self._at_once = at_once
        self._step_s = step_s
        self._longest_backoff_s = longest_backoff_s
        self._held: set[str] = set()
        self._under_way: set[str] = set()
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Fetching {self._node} held={len(self._held)} under way={len(self._under_way)}>"

    def adapter(self, finetune: str) -> Path | None:
        """Return the folder of a finetune's files, None while they are not here."""
        return self._folder / finetune if finetune in self._held else None

    async def take_stock(self) -> None:
        """Find what an earlier run has fetched, and clear away what it had not finished.

        Before the agent's first step, which would unlink what is not known to be here.
        """
        self._held = await in_thread(lambda: _stock(self._folder))

    async def run(self) -> None:
        """Fetch and remove until cancelled."""
        await self._world.until(lambda world: world.complete)
        finetunes = self._world.table(Finetune).values()
        cut = [each.id for each in finetunes if each.id in self._held and not self._is_whole(each)]
        self._held.difference_update(cut)
        async with asyncio.TaskGroup() as fetches:
            while True:
                await self._step(fetches)
                try:
                    async with asyncio.timeout(self._step_s):
                        await self._world.changed()
                except TimeoutError:
                    continue

    async def _step(self, fetches: asyncio.TaskGroup) -> None:
        finetunes = self._world.table(Finetune)
        gone = self._held - finetunes.keys()
        self._held -= gone  # the agent unlinks them; who is reading still can
        for id_ in gone:
            await in_thread(partial(shutil.rmtree, self._folder / id_, ignore_errors=True))
        for noted in (self._failures, self._retry_at):
            for id_ in noted.keys() - finetunes.keys():
                del noted[id_]
        models = {each.model for each in self._world.assignments(node=self._node)}
        for each in finetunes.values():
            if len(self._under_way) >= self._at_once:
                break
            if each.model in models and self._is_due(each):
                self._under_way.add(each.id)
                fetches.create_task(self._try(each), name=f"fetch {each.id}")

    def _is_whole(self, finetune: Finetune) -> bool:
        folder = self._folder / finetune.id
        return all(_size(folder / each.file) == each.size for each in finetune.assets)

    def _is_due(self, finetune: Finetune) -> bool:
        if not finetune.assets or not finetune.is_complete:
            return False
        is_known = finetune.id in self._held or finetune.id in self._under_way
        return not is_known and self._retry_at.get(finetune.id, 0.0) <= self._clock.now()

    async def _try(self, finetune: Finetune) -> None:
        try:
            await self._fetch(finetune)
        except (RequestError, Damaged, OSError) as error:
            failures = self._failures.get(finetune.id, 0) + 1
            wait = backoff_s(failures, self._longest_backoff_s)
            self._failures[finetune.id] = failures
            self._retry_at[finetune.id] = self._clock.now() + wait
            log.warning("finetune %s is not here, next try in %.0f s: %s", finetune.id, wait, error)
        except Exception:  # the next try may be better
            log.exception("finetune %s is not here for a reason of ours", finetune.id)
            self._retry_at[finetune.id] = self._clock.now() + self._longest_backoff_s
        else:
            self._failures.pop(finetune.id, None)
            self._retry_at.pop(finetune.id, None)
            self._held.add(finetune.id)
            log.info("finetune %s is here", finetune.id)
        finally:
            self._under_way.discard(finetune.id)

    async def _fetch(self, finetune: Finetune) -> None:
        unfinished = self._folder / f".{finetune.id}"
        await in_thread(lambda: _make_empty(unfinished))
        for asset in finetune.assets:
            await self._fetch_file(asset, unfinished)
        await in_thread(lambda: _rename(unfinished, self._folder / finetune.id))

    async def _fetch_file(self, asset: Asset, folder: Path) -> None:
        with Incoming(folder) as incoming:
            async with aclosing(self._source.fetch(asset.sha256)) as pieces:
                async for piece in pieces:
                    if incoming.size + len(piece) > asset.size:
                        raise Damaged(f"more than {asset.size} bytes came of its {asset.file}")
                    await incoming.write(piece)
            await incoming.flush()
            if (incoming.size, incoming.sha256) != (asset.size, asset.sha256):
                raise Damaged(f"its {asset.file} came with another digest")
            await incoming.keep(folder / asset.file)


def _stock(folder: Path) -> set[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    return {path.name for path in folder.iterdir()}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _rename(folder: Path, name: Path) -> None:
    sync_folder(folder)
    shutil.rmtree(name, ignore_errors=True)
    folder.rename(name)
    sync_folder(name.parent)
