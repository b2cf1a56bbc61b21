"""Small loads, made by hand: (second of arrival, steps of service) of each request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.scheduler.simulate.instances import Instances
from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Terms
from services.scheduler.simulate.queue_model import Queue
from services.scheduler.simulate.service import Service

Request = tuple[int, int]


def load(requests: Sequence[Request], *, seconds: int, warmup_s: int = 0) -> Load:
    """A load with just these requests."""
    requests = sorted(requests, key=lambda each: each[0])
    arrived = np.array([each[0] for each in requests], np.int64)
    ends = np.array([sum(each) for each in requests], np.int64)
    arrivals = np.bincount(arrived, minlength=seconds)
    first = np.concatenate(([0], np.cumsum(arrivals)))
    gone = np.bincount(np.minimum(ends, seconds), minlength=seconds + 1)
    took = np.bincount(np.minimum(ends, seconds), weights=ends - arrived, minlength=seconds + 1)
    left = np.cumsum(gone)
    return Load(
        name="by hand",
        seconds=seconds,
        warmup_s=warmup_s,
        arrivals=arrivals,
        first=first,
        ends=ends.astype(np.uint32),
        demand=(first[1:] - left[:-1]).astype(np.int32),
        ended=np.concatenate(([0], left[:-1])),
        service_s=np.concatenate(([0.0], np.cumsum(took)[:-1])),
        longest=max(1, int((ends - arrived).max())),
        service_mean_s=float((ends - arrived).mean()),
    )


def service(load: Load, terms: Terms, *, max_wait_s: int = 60) -> Service:
    """A load before instances whose boots take what the terms say."""
    instances = Instances(
        seconds=load.seconds, ready=terms.minimum, boot_s=lambda: round(terms.boot_s)
    )
    queue = Queue(load, permits=terms.permits, max_wait_s=max_wait_s, seed=1)
    return Service(load, queue, instances, terms)
