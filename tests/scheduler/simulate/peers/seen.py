"""Observations with as little written out as a case needs."""

from __future__ import annotations

from collections.abc import Iterable

from services.scheduler.simulate.policy import Observation, Policy

NOTHING = Observation(
    t=0.0,
    ready=1,
    booting=0,
    permits=10,
    in_flight=0,
    queued=0,
    seconds=0.0,
    arrivals=0,
    served=0,
    late=0,
    dropped=0,
    mean_demand=0.0,
    max_demand=0,
    mean_service_s=0.0,
)


def asked(policy: Policy, demands: Iterable[float], *, ready: int, booting: int = 0) -> list[int]:
    """Return what a policy wants at each of its calls, where the fleet never follows."""
    first = NOTHING._replace(ready=ready, booting=booting)
    policy.wanted(first)
    return [
        policy.wanted(
            first._replace(
                t=number * policy.every_s,
                seconds=policy.every_s,
                mean_demand=demand,
                max_demand=round(demand),
                in_flight=round(demand),
                arrivals=round(demand * policy.every_s),
            )
        )
        for number, demand in enumerate(demands, start=1)
    ]


def followed(policy: Policy, demands: Iterable[float], *, ready: int) -> list[int]:
    """Return what a policy wants at each of its calls, where instances boot within one."""
    seen = NOTHING._replace(ready=ready)
    wanted = [policy.wanted(seen)]
    for number, demand in enumerate(demands, start=1):
        seen = seen._replace(
            t=number * policy.every_s,
            ready=wanted[-1],
            seconds=policy.every_s,
            mean_demand=demand,
            max_demand=round(demand),
            in_flight=round(demand),
            arrivals=round(demand * policy.every_s),
        )
        wanted.append(policy.wanted(seen))
    return wanted[1:]
