"""What readers of one colo see in the place of the catalog's models: changes tried there first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from libs.common.catalog import Model
from libs.common.staged_files import Staged
from libs.common.world_map import Resource, Update

Names = frozenset[str]


class Staging:
    """The staged models by colo."""

    def __init__(self) -> None:
        self._models: Mapping[str, Mapping[str, Model]] = {}

    def __repr__(self) -> str:
        told = " ".join(f"{colo}={len(models)}" for colo, models in self._models.items())
        return f"<Staging {told or 'nothing'}>"

    @property
    def staged(self) -> list[tuple[str, str]]:
        """Return the colo and the model of all that is staged."""
        return sorted((colo, name) for colo, models in self._models.items() for name in models)

    def model(self, colo: str, model: Model) -> Model:
        """Return a model as a colo sees it."""
        return self._models.get(colo, {}).get(model.name, model)

    def stage(self, staged: Iterable[Staged]) -> dict[str, Names]:
        """Take what is staged now; return the models that are other than before, by colo."""
        then, now = self._models, dict[str, dict[str, Model]]()
        for each in staged:
            now.setdefault(each.colo, {})[each.model.name] = each.model
        self._models = now
        changed = {}
        for colo in then.keys() | now.keys():
            before, after = then.get(colo, {}), now.get(colo, {})
            names = before.keys() | after.keys()
            if other := frozenset(n for n in names if before.get(n) != after.get(n)):
                changed[colo] = other
        return changed

    def seen(self, update: Update, colo: str) -> Update:
        """Return an update as readers in a colo see it."""
        models = self._models.get(colo)
        if not models or not any(_is_in(models, each) for each in update.puts):
            return update
        puts = tuple(models[each.key] if _is_in(models, each) else each for each in update.puts)
        return replace(update, puts=puts)


def _is_in(models: Mapping[str, Model], resource: Resource) -> bool:
    return isinstance(resource, Model) and resource.name in models
