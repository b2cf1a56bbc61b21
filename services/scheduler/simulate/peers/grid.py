"""The configurations of a policy that may be chosen: what is published, and a grid around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from services.scheduler.simulate.policy import Values


def grid(published: Values, **axes: Sequence[float]) -> tuple[Values, ...]:
    """Return the published configuration, and then every other combination of the axes."""
    all_of_them = (dict(zip(axes, each, strict=True)) for each in product(*axes.values()))
    return (published, *(each for each in all_of_them if each != published))
