"""The surge: more than the load needs, for as long as a queue has to be worked off.

Who is late because a boot takes its time cannot be helped; who is late after it, as the new
instances have a queue before them, can. With m the demand, b the calls that will be waiting when a
boot is over, and e permits beyond m, the queue is gone after b S / e seconds, in which m b / e
calls come late. Against that stand e / c instances for the minutes B of a boot and a bit:

    minimize  price * m b / e + B e / c        e* = sqrt(price m b c / B)
    b = q + (m - N)+ boot / S, at most as many as come in the longest wait

q is who waits now, N the permits that serve. Unit: permits. Instances go when the queue has gone.
"""

from __future__ import annotations

import math

LONGEST_WAIT_S = 60.0  # callers leave after about as long
AFTER_S = 30.0  # until what came in a surge has gone again


def boot_minutes(boot_s: float) -> float:
    """Return B: for how long an instance of a surge is paid."""
    return (boot_s + AFTER_S) / 60.0


def extra(price: float, load: float, waiting: float, permits: int, minutes: float) -> float:
    """Return e*, the permits beyond the load."""
    return math.sqrt(price * load * waiting * permits / minutes)


def waiting(queued: float, load: float, serving: float, boot_s: float, service_s: float) -> float:
    """Return b, the calls that will be waiting when a boot that begins now is over."""
    later = queued + max(load - serving, 0.0) * boot_s / service_s
    return min(later, load * LONGEST_WAIT_S / service_s)
