"""How many instances an operator allows, for policies that remember what they last wanted.

What is wanted and what there is differ where boots fail or the fleet is full; a published
autoscaler goes on from what it wanted, within the bounds.
"""

from __future__ import annotations

from services.scheduler.simulate.policy import Terms


def bounded(instances: int, terms: Terms) -> int:
    """Return the nearest number that is allowed."""
    return min(max(instances, terms.minimum), terms.maximum)
