"""Which models' files are on this node: the scheduler prefers nodes that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.world import World

LOOK_S: Final = 10.0


class Weights:
    """Looks for the folders of the catalog's models, now and then."""

    def __init__(self, *, world: World, root: Path, clock: Clock) -> None:
        self._world = world
        self._root = root
        self._clock = clock
        self._looked_at: float | None = None
        self._found: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Weights {self._root} models={len(self._found)}>"

    def here(self) -> tuple[str, ...]:
        """Return the names of the models whose files are here, or were a few seconds ago."""
        now = self._clock.now()
        if self._looked_at is None or now - self._looked_at >= LOOK_S:
            self._looked_at = now
            models = self._world.table(Model).values()
            self._found = tuple(sorted(each.name for each in models if self._has(each)))
        return self._found

    def _has(self, model: Model) -> bool:
        repository = model.backend.repository
        return bool(repository) and (self._root / repository).is_dir()
