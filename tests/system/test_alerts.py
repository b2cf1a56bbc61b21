"""Faults of a cluster of processes, and the alerts of a real Prometheus that tell them.

The rules are those of deploy/, with all their times sixty times shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.system.cluster import Cluster
from tests.system.harness import CHAT, constellation, until
from tests.system.load import Load
from tests.system.prometheus import Prometheus

pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("processes")]
SOONER = 60
STARTS_S, FIRES_S, RESTS_S = 180, 60, 120  # a busy machine takes long to start a process
Told = Callable[[str, object], None]


@contextmanager
def fires(prometheus: Prometheus, told: Told, fault: str, *alerts: str) -> Iterator[None]:
    """These are to fire for the harm that was just done, and to rest after what is inside."""
    wanted = {f"Constellation{each}" for each in alerts}
    began = time.monotonic()

    def missing() -> str:
        return f"{fault}: {wanted - prometheus.firing()}"

    until(lambda: prometheus.firing() >= wanted, seconds=FIRES_S, what=missing)
    fired_s = time.monotonic() - began
    yield
    mended = time.monotonic()

    def rested() -> bool:
        return not prometheus.firing() & wanted

    until(rested, seconds=RESTS_S, what=lambda: f"{prometheus.firing() & wanted} rest")
    rested_s = time.monotonic() - mended
    names = ", ".join(sorted(alerts))
    told(fault, f"{names} fired after {fired_s:.0f} s, rested {rested_s:.0f} s after it was mended")


def test_alerts_fire_for_faults_and_rest_after_them(state: Path, told: Told) -> None:
    cluster = Cluster(state)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start(seconds=STARTS_S)
        constellation(state, "scale", CHAT, "--max", "1")
        prometheus = stack.enter_context(Prometheus(state, cluster.targets(), sooner=SOONER))
        targets = len(cluster.services)
        until(lambda: len(prometheus.query("up == 1")) == targets, seconds=20, what="all scraped")
        until(lambda: not prometheus.firing(), seconds=RESTS_S, what=prometheus.told)

        with ExitStack() as flood:
            flood.enter_context(Load(cluster.client, threads=24, streams=2))
            with fires(prometheus, told, "a flood", "ModelSaturated", "ModelAtMaximum"):
                flood.close()

        with Load(cluster.client, threads=2):
            for name, fault, alerts in FAULTS:
                cluster.services[name].kill()
                with fires(prometheus, told, fault, "ProcessDown", *alerts):
                    cluster.services[name].start().wait_for(" is up: ", seconds=STARTS_S)
            until(cluster.all_ready, seconds=STARTS_S, what="all permits")
        until(lambda: not prometheus.firing(), seconds=RESTS_S, what=prometheus.told)


FAULTS = (
    ("ams-node", "kill -9 of a node's agent", ("NodeAgentLost",)),
    ("scheduler", "kill -9 of the scheduler", ("ControlAway", "SchedulerIdle")),
    ("analytics", "kill -9 of analytics", ("CollectorAbsent", "EventsSpooled")),
    ("iad-server", "kill -9 of a server", ()),
)
