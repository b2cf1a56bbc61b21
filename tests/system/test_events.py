"""Every request is one event in the store, whichever process is killed, until a bound is hit.

Real processes: a gateway (`constellation edge`), control, and analytics with its DuckDB, which
is started often and so without the command line; the model is canned, so that there is load.
"""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from bench.measure import backend_running
from bench.ours import write_catalog
from bench.workloads import embeddings
from tests.system.harness import ROOT, Client, Service, answers, free_ports, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]

SPOOL_MB = 2  # small, so that it is reached
BOUNDS = {
    "CONSTELLATION_SERVER_EVENTS_SPOOL_MB": str(SPOOL_MB),
    "CONSTELLATION_SERVER_EVENTS_PENDING": "100",
}
TOKEN = "cst_token-for-the-benchmark"
FLUSH_S = 0.010
LATE_MS = 100.0  # more: until the timer comes on a busy machine, and until the asker has the answer
PREFIX = "constellation_server_events_"


class Analytics:
    """The collector, the store and the usage service."""

    def __init__(self, state: Path) -> None:
        self._command = [sys.executable, "-m", "tests.analytics.collector_process", str(state)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [*self._command, "nowhere"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        with self._process.stdout as said:
            assert said.readline() == b"ready\n"

    def kill(self) -> None:
        """End it with -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


class Gateway:
    """The processes, and what their metrics say."""

    def __init__(self, state: Path, config: Path) -> None:
        (port,) = free_ports(1)
        self.port, self.state = port, state
        env = {**BOUNDS, "CONSTELLATION_TOKEN": TOKEN}
        common = ["--config", str(config)]
        front = ["--name", "here", "--colo", "local", "--http", f"127.0.0.1:{port}", "--grpc", ""]
        self.control = Service(["scheduler", *common, "--listen", ""], state, env)
        self.analytics = Analytics(state)
        self.edge = Service(["edge", *common, *front], state, env)
        self.client = Client(port)

    def start(self) -> None:
        for service in (self.control, self.edge):
            service.start()
        self.analytics.start()
        self.control.wait_for(" is up: ")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.edge.wait_for(" is up: ")
        until(lambda: answers(f"{self.client.base}/readyz"), seconds=20, what="the edge is ready")
        until(self._answers, seconds=20, what="an answer")

    def _answers(self) -> bool:
        with Asking(self.port, threads=1) as asking:
            time.sleep(0.1)
        return bool(asking.answered)

    def events(self, name: str) -> int:
        return int(self.client.metric(f"{PREFIX}{name}"))

    def wait_until_stored(self) -> None:
        until(
            lambda: self.events("waiting") == 0, seconds=60, what=lambda: self.edge.text()[-2000:]
        )

    def requests(self) -> int:
        return int(self.client.metric("constellation_server_requests_total"))

    def stored(self) -> list[tuple[str, int]]:
        """The ids of all events in the store, with the start of the server that emitted them."""
        with duckdb.connect(str(self.state / "events.duckdb"), read_only=True) as store:
            return store.execute("SELECT request_id, boot_epoch FROM inference_events").fetchall()

    def close(self) -> None:
        self.client.close()
        for service in (self.edge, self.control):
            service.stop()
        self.analytics.kill()


class Asking:
    """Asks all the time while inside, and keeps when which request was answered."""

    def __init__(self, port: int, *, threads: int = 3, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self.answered: list[tuple[float, str]] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        ask = embeddings()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            while not self._stop.is_set():
                connection.request("POST", ask.path, ask.body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    request_id = answer.headers["x-constellation-request-id"]
                    self.answered.append((time.monotonic(), request_id))
                time.sleep(self._pause_s)
        except (OSError, http.client.HTTPException):
            pass  # killed
        finally:
            connection.close()


@pytest.fixture
def gateway(state: Path) -> Iterator[Gateway]:
    with ExitStack() as stack:
        config = state / "config"
        write_catalog(config, stack.enter_context(backend_running()).grpc)
        made = Gateway(state, config)
        stack.callback(made.close)
        made.start()
        yield made


@pytest.mark.parametrize("seconds", [0.2, pytest.param(5.0, marks=pytest.mark.long)])
def test_every_request_is_one_event_whoever_is_killed(
    gateway: Gateway, seconds: float, told: Callable[[str, object], None]
) -> None:
    dice = random.Random(7)
    with Asking(gateway.port, pause_s=0.01):  # a busy machine needs seconds for a restart
        for _ in range(5):
            time.sleep(seconds * dice.uniform(0.5, 1.5))
            gateway.analytics.kill()
            time.sleep(seconds / 2)
            stored = gateway.events("ok_total")
            gateway.analytics.start()
            until(
                lambda before=stored: gateway.events("ok_total") > before,
                seconds=20,
                what="analytics is at work again",
            )
    gateway.wait_until_stored()
    assert gateway.events("dropped_total") == 0
    assert gateway.events("ok_total") == gateway.requests()
    told("kill -9 of analytics, five times", f"0 of {gateway.requests()} events lost or doubled")

    gateway.analytics.kill()
    with Asking(gateway.port):
        until(lambda: gateway.events("dropped_total") > 100, seconds=60, what="the bound is hit")
        size = gateway.events("spool_bytes")
        gateway.analytics.start()
        time.sleep(seconds)
    gateway.wait_until_stored()
    dropped, requests = gateway.events("dropped_total"), gateway.requests()
    assert SPOOL_MB << 20 <= size <= (SPOOL_MB << 20) + 100_000
    assert gateway.events("ok_total") + dropped == requests
    told("a spool of 2 MB at its bound", f"{dropped} of {requests} events dropped and counted")

    gateway.analytics.kill()
    before = gateway.stored()
    assert len(before) == requests - dropped
    with Asking(gateway.port) as asking:
        time.sleep(2 * seconds)
        gateway.edge.kill()
        killed = time.monotonic()
    gateway.edge.start()
    gateway.analytics.start()
    gateway.wait_until_ready()
    gateway.wait_until_stored()
    later = gateway.requests()
    gateway.analytics.kill()

    stored = gateway.stored()
    ids = {request_id for request_id, _ in stored}
    assert len(ids) == len(stored)  # none is double
    boots = sorted({boot for _, boot in stored})
    assert len(boots) == 2
    assert sum(boot == boots[1] for _, boot in stored) == later
    assert set(before) <= set(stored)
    lost = [(killed - when) * 1000 for when, each in asking.answered if each not in ids]
    oldest = max(lost, default=0.0)
    of_all = f"{len(lost)} of {len(asking.answered)} events lost, {oldest:.1f} ms old at most"
    told("kill -9 of a server while analytics is away", of_all)
    assert oldest < 1000 * FLUSH_S + LATE_MS
