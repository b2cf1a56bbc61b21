"""What a fault costs: every process is killed, stopped or restarted under calls and streams.

Two entries in one colo, two servers there and one in another colo. A request that had no answer
at all is lost; one that had an error for an answer has failed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.short_dirs import short_dir
from tests.system.cluster import COLOS, Cluster
from tests.system.harness import CHAT, cleaned_up, tritons_of, until
from tests.system.load import LOST, Load

pytestmark = [pytest.mark.timeout(280), pytest.mark.xdist_group("processes")]
CALLS, STREAMS = 6, 4  # at a time: more than one colo has permits for
FEW = 2, 2  # where it does not matter: the model's own work takes both cores
PERMITS = 4  # of one instance
Told = Callable[[str, object], None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with short_dir() as state, cleaned_up(state):
        made = Cluster(state, {"ams": 2, "iad": 1}, entries=2)
        made.start()
        yield made
        made.stop()


@dataclass
class Run:
    """One fault under load, and the Tritons that ended by themselves meanwhile."""

    load: Load
    killed: set[int] = field(default_factory=set)
    crashes: int = 0

    @property
    def excused(self) -> int:
        """Calls that a Triton may take with it that ends by itself, as 24.10 sometimes does."""
        return PERMITS * self.crashes

    def __str__(self) -> str:
        return f"{self.load}; {self.crashes} crashes of Triton by itself"


@contextmanager
def under_load(
    cluster: Cluster, told: Told, fault: str, at_a_time: tuple[int, int] = (CALLS, STREAMS)
) -> Iterator[Run]:
    """Have calls and streams all the time; tell what became of them, and see all back again."""
    before = everywhere(cluster)
    calls, streams = at_a_time
    run = Run(Load(*cluster.clients, threads=calls, streams=streams))
    try:
        with run.load:
            goes_on(run.load)
            yield run
            goes_on(run.load)
        run.crashes = len(before - run.killed - everywhere(cluster))
    finally:
        told(fault, run)
    until(cluster.all_ready, seconds=30, what="every colo has its permits")
    assert not run.load.broken, run.load.broken[:3]
    assert run.load.ends()[LOST] == 0


def goes_on(load: Load, *, seconds: float = 1.0) -> None:
    """Wait for answers that come so many seconds from now."""
    since = time.monotonic() + seconds
    until(lambda: load.good_since(since) > 10, seconds=40, what=lambda: f"answers: {load}")


def everywhere(cluster: Cluster) -> set[int]:
    return {pid for colo in COLOS for pid in cluster.lasting_tritons(colo)}


def restart(cluster: Cluster, name: str) -> None:
    service = cluster.services[name]
    assert service.stop() == 0, service.text()
    service.start().wait_for(" is up: ")


def owner(cluster: Cluster, colo: str) -> str:
    """The server of a colo that has the text model."""
    return max(
        (each for each in cluster.servers if each.startswith(colo)),
        key=lambda name: cluster.metric_of(name, "constellation_server_total_permits", model=CHAT),
    )


@pytest.mark.parametrize(
    ("name", "fault"), [("scheduler", "the scheduler"), ("ams-node", "a node's agent")]
)
def test_nobody_notices_that_what_no_request_needs_is_killed(
    cluster: Cluster, told: Told, name: str, fault: str
) -> None:
    with under_load(cluster, told, f"kill -9 of {fault}", FEW) as run:
        cluster.services[name].kill()
        goes_on(run.load, seconds=6)  # past the time after which control gives up who is silent
        cluster.services[name].start().wait_for(" is up: ")
        goes_on(run.load, seconds=3)

    assert run.load.failed <= run.excused
    assert run.crashes or set(run.load.ends()) == {200}


def test_a_killed_triton_takes_only_the_calls_that_ran_there(cluster: Cluster, told: Told) -> None:
    there = cluster.lasting_tritons("ams")
    texts = {pid for pid, each in tritons_of(cluster.state).items() if "text_generation" in each}
    with under_load(cluster, told, "kill -9 of a Triton") as run:
        for pid in there & texts or there:
            run.killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        goes_on(run.load, seconds=3)

    assert set(run.load.ends()) <= {200, 503}
    assert run.load.failed <= PERMITS + run.excused


def test_a_killed_server_takes_only_the_calls_that_ran_there(cluster: Cluster, told: Told) -> None:
    victim = owner(cluster, "ams")
    with under_load(cluster, told, "kill -9 of a server") as run:
        cluster.services[victim].kill()
        killed = time.monotonic()
        goes_on(run.load, seconds=7)  # control has given its shards to the other one
        cluster.services[victim].start().wait_for(" is up: ")

    assert set(run.load.ends()) <= {200, 503}
    assert run.load.failed <= 2 * CALLS + run.excused, "in flight there, and who asked once more"
    assert run.crashes or set(run.load.ends(killed + 1)) == {200}


def test_a_colo_that_is_cut_off_is_left_and_found_again(cluster: Cluster, told: Told) -> None:
    def served() -> float:
        return cluster.metric("iad", "constellation_server_requests_total", status="200")

    far = cluster.services["iad-server"].process
    with under_load(cluster, told, "a colo cut off for 10 s") as run:
        before = served()
        until(lambda: served() > before + 10, seconds=30, what="both colos serve")
        far.send_signal(signal.SIGSTOP)
        try:
            goes_on(run.load, seconds=10)
        finally:
            far.send_signal(signal.SIGCONT)
        back = served()
        until(lambda: served() > back + 10, seconds=30, what="iad serves again")
        is_back = time.monotonic()

    assert set(run.load.ends()) <= {200, 503}, run.load.refused
    assert run.load.failed <= 2 * CALLS + run.excused, "in flight there, and who asked once more"
    assert run.crashes or set(run.load.ends(is_back)) == {200}, run.load.refused


def test_a_rolling_restart_of_everything_costs_nothing(cluster: Cluster, told: Told) -> None:
    tritons = everywhere(cluster)
    with under_load(cluster, told, "rolling restart of everything", FEW) as run:
        for name in cluster.services:  # scheduler, analytics, nodes, servers, entries
            restart(cluster, name)
            until(cluster.all_ready, seconds=30, what="every colo has its permits")

    assert run.crashes or tritons == everywhere(cluster)
    assert run.load.failed <= run.excused
    # An entry that leaves refuses connections; what is on its way to it it answers.
    assert run.load.asked_again.total() == run.load.asked_again["ConnectError"]
