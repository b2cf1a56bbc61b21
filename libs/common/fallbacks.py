"""Chains of fallbacks: which models are tried, in order, when one has no room or fails.

A model's fallbacks are followed by their own. So that a chain ends, and ends soon, the catalog
takes no loops and no long ones; what control is told at run time may still have them for a
moment, so a chain is bounded here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from libs.common.catalog import Model

MOST: Final = 8  # models after the first
Find = Callable[[str], Model | None]  # by name or alias


def chain(model: Model, find: Find) -> list[Model]:
    """Return what is tried after the model, in order, each once; it does what the model does."""
    found: dict[str, Model] = {}
    _collect(model, find, found)
    found.pop(model.name, None)
    return [each for each in found.values() if each.task == model.task][:MOST]


def flaws(model: Model, find: Find) -> Iterator[str]:
    """Yield what is wrong with the model's fallbacks."""
    for name in model.fallbacks:
        fallback = find(name)
        if fallback is None:
            yield f"{name!r} is not in the catalog"
        elif fallback.name == model.name:
            yield f"{name!r} is the model itself"
        elif fallback.task != model.task:
            yield f"{name!r} does {fallback.task}, not {model.task}"
        elif model.name in {each.name for each in _reachable(fallback, find)}:
            yield f"{name!r} leads back to {model.name}: a loop"
    if (length := len(_reachable(model, find))) > MOST:
        yield f"{length} models follow one another, of at most {MOST}"


def _reachable(model: Model, find: Find) -> list[Model]:
    found: dict[str, Model] = {}
    _collect(model, find, found)
    return list(found.values())


def _collect(model: Model, find: Find, found: dict[str, Model]) -> None:
    """Add what follows the model, depth first, as far as it is not there yet."""
    for name in model.fallbacks:
        fallback = find(name)
        if fallback is not None and fallback.name not in found:
            found[fallback.name] = fallback
            _collect(fallback, find, found)
