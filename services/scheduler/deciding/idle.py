"""The last instance: where the minimum is 0, it stays for a while after the last call.

    n >= 1    while idle < keep alive
    n  = 0    after it, if 1 was all that was wanted

Without a keep-alive the SLO's price alone says how long: an instance stays while the calls expected
within a boot are worth it. Unit: instances.
"""

from __future__ import annotations

from services.scheduler.deciding.values import Situation


def keep_alive(instances: int, now: Situation, *, idle_s: float) -> int:
    """Return how many instances are left of those wanted."""
    if now.min > 0 or now.keep_alive_s is None:
        return instances
    if idle_s <= now.keep_alive_s:
        return max(instances, 1)
    return instances if instances > 1 else 0
