"""Instances of models that others run: one per address of the catalog, in every colo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from libs.common.catalog import Model
from libs.common.world_map import Colo, Instance


def external_instances(
    models: Iterable[Model],
    colos: Iterable[Colo],
    *,
    known: Mapping[str, Instance],
    at_ms: int,
    seen: Callable[[str, Model], Model] = lambda _, model: model,
) -> dict[str, Instance]:
    """Return them by id; those that are `known` already stay as they are.

    `seen` returns a model as a colo has it.
    """
    names = [colo.name for colo in colos]
    every = (
        Instance(
            id=f"external/{address}/{model.name}@{colo}",
            model=model.name,
            colo=colo,
            address=address,
            state="ready",
            external=True,
            since_ms=at_ms,
        )
        for model in models
        for colo in names
        for address in seen(colo, model).backend.external
    )
    return {each.id: known.get(each.id, each) for each in every}
