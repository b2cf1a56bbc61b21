"""What each further instance is worth: late calls that it spares in a minute.

    spared(n) = risk(0) - risk(n)              risk as in sizing
    worth(n)  = hull(n) - hull(n - 1)          hull: the least concave function above `spared`

While a load is far above the permits all calls are late, and the instance that ends this gets all
the praise; on the hull those before it have their part, so that who takes the best first gets a
block of them rather than none. Worths never rise with n. Unit: calls a minute; shape: (count,).
Who shares exactly (`sharing`) takes `spared` as it is.
"""

from __future__ import annotations

import numpy as np

from services.scheduler.deciding.minutes import Floats
from services.scheduler.deciding.sizing import risk


def spared(loads: Floats, shares: Floats, permits: int, service_s: float, count: int) -> Floats:
    """Return the late calls that 0, 1, ... `count` instances spare in a minute: (count + 1,)."""
    risks = risk(np.arange(count + 1.0), loads, shares, permits, service_s)
    return np.asarray(risks[0] - risks)


def worths(loads: Floats, shares: Floats, permits: int, service_s: float, count: int) -> Floats:
    """Return the worth of the first `count` instances, for scenarios and their weights."""
    return hull_steps(spared(loads, shares, permits, service_s, count))


def hull_steps(values: Floats) -> Floats:
    """Return the steps of the least concave function above values: (n + 1,) to (n,)."""
    corners = [0]
    for at in range(1, values.size):
        while len(corners) > 1 and _slope(values, corners[-1], at) >= _slope(values, *corners[-2:]):
            corners.pop()
        corners.append(at)
    hull = np.interp(np.arange(values.size), corners, values[corners])
    return np.diff(hull)


def _slope(values: Floats, start: int, end: int) -> float:
    return float(values[end] - values[start]) / (end - start)
