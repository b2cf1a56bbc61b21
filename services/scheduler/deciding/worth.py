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


def worths(spared: Floats) -> Floats:
    """Return the worth of each instance, of what 0, 1, ... of them spare: (n + 1,) to (n,)."""
    return np.diff(_hull(spared)) if spared.size else spared


def _hull(values: Floats) -> Floats:
    """Return the least concave function above values."""
    corners = [0]
    for at in range(1, values.size):
        while len(corners) > 1 and _slope(values, corners[-1], at) >= _slope(values, *corners[-2:]):
            corners.pop()
        corners.append(at)
    return np.interp(np.arange(values.size), corners, values[corners])


def _slope(values: Floats, start: int, end: int) -> float:
    return float(values[end] - values[start]) / (end - start)
