"""A whole node, with a real process as its instance, and a real server that is told of it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from libs.common.catalog import Backend, Model, Resources
from libs.common.clock import SystemClock
from libs.common.world import World
from libs.common.world_map import Assignment, EndpointLoad, Report, ShardLoad
from services.node.app import App, Config, build, serve
from services.node.metrics import NodeMetrics
from tests.fakes import put
from tests.waiting import until

pytestmark = [
    pytest.mark.xdist_group("process driver"),
    pytest.mark.skipif(sys.platform != "linux", reason="sessions are found in /proc"),
]

SERVE = """
import http.server, sys
print("it comes up", flush=True)
address = ("127.0.0.1", int(sys.argv[1]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
LOAD = "import time; time.sleep(60)"
ONE = "n/m/0"


@dataclass
class Receiver:
    """Takes what has the right token, after it has failed once at each address."""

    states: list[dict[str, Any]] = field(default_factory=list)
    setups: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == "application/json"
        if request.headers.get("Authorization") != "Bearer a secret":
            return web.Response(status=401)
        if request.path not in self.failed:
            self.failed.append(request.path)
            return web.Response(status=500)
        told = self.states if request.path == "/states" else self.setups
        told.append(await request.json())
        return web.Response(status=204)


class NoControl:
    """Hears all reports, and no uploaded finetunes are to be had of it."""

    async def report(self, reports: AsyncIterator[Report], granted: Any = None) -> None:
        async for _ in reports:
            pass

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Site:
    """A node that runs, what it is assigned, and what others are told."""

    def __init__(self, receiver: Receiver, world: World, app: App) -> None:
        self.receiver = receiver
        self.world = world
        self._app = app

    def was_seen_active(self) -> bool:
        """Whether the node knows yet that the instance had calls in flight."""
        activity = self._app.reports._activities.get(ONE)
        return activity is not None and activity._seconds.get("active", 0.0) > 0

    def assign(self, instances: int) -> None:
        put(self.world, Assignment(node="n", model="m", instances=instances))

    def shows(self, state: Any, in_flight: int) -> None:
        """Have a server say how many calls the instance has in flight."""
        endpoint = EndpointLoad(instance=ONE, address="", state=state, in_flight=in_flight)
        load = ShardLoad(model="m", colo="ams", index=0, server="s", endpoints=(endpoint,))
        put(self.world, load)


@asynccontextmanager
async def a_node(folder: Path, program: str, *, token: str = "a secret") -> AsyncIterator[Site]:
    receiver, world = Receiver(), World()
    command = (sys.executable, "-c", program, "{port}")
    backend = Backend(kind="openai_http", served_as="m", command=command)
    needs = Resources(cpus=0.5)
    put(
        world,
        Model(name="m", task="text-generation", backend=backend, resources=needs),
        complete=True,
    )
    application = web.Application()
    application.router.add_post("/states", receiver.take)
    application.router.add_post("/setups", receiver.take)
    async with TestServer(application) as server:
        config = Config(
            name="n",
            colo="ams",
            state_dir=folder,
            root=folder,
            environment=folder / "none",
            gpus=0,
            step_s=0.05,
            drain_s=2.0,
            stop_s=1.0,
            state_s=60.0,  # longer than the test: so all that comes is the rest
            state_url=str(server.make_url("/states")),
            setup_url=str(server.make_url("/setups")),
            report_token=token,
        )
        control: Any = NoControl()
        app = build(
            config,
            world=world,
            source=control,
            metrics=NodeMetrics(CollectorRegistry()),
            clock=SystemClock(),
        )
        async with serve(config, app, control=control):
            yield Site(receiver, world, app)


async def test_others_are_told_of_each_instance_and_boot_with_all_fields(tmp_path: Path) -> None:
    async with a_node(tmp_path, SERVE) as site:
        told = site.receiver
        site.assign(1)
        await until(lambda: told.setups, 20.0)
        site.shows("healthy", 3)
        await until(site.was_seen_active)
        site.assign(0)
        site.shows("draining", 0)
        await until(lambda: told.states, 20.0)
        site.assign(1)
        await until(lambda: len(told.setups) == 2, 20.0)

    first, last = told.states
    assert sorted(told.failed) == ["/setups", "/states"]
    times = {
        name: first.pop(name)
        for name in ("active_time", "boot_time", "idle_time", "metric_duration")
    }
    rates = {name: first.pop(name) for name in ("utilization", "mean_concurrency")}
    about = {"instance": ONE, "model": "m", "node": "n", "colo": "ams"}
    assert first == {
        "deployment_key": "m",
        "docker_image_uri": "",
        "hardware": "cpu",
        "compute_unit": "cpu",
        "compute_unit_count": 0.5,
        "instance_id": ONE,
        "instance_metadata": about,
        "version": version("constellation-inference"),
    }
    assert times["boot_time"] >= 0  # in whole seconds of this agent, which most boots are less than
    assert all(each > 0 for name, each in times.items() if name != "boot_time")
    whole = times["active_time"] + times["boot_time"] + times["idle_time"]
    assert whole == pytest.approx(times["metric_duration"])
    assert rates["utilization"] == pytest.approx(times["active_time"] / whole)
    assert rates["mean_concurrency"] == pytest.approx(3 * rates["utilization"])
    assert last["boot_time"] + last["idle_time"] + last["active_time"] > 0
    assert last["instance_id"] == ONE

    setup = told.setups[0]
    began, ended = (
        datetime.fromisoformat(setup.pop(f"{name}_at")) for name in ("started", "completed")
    )
    assert began < ended
    assert setup.pop("logs") == "it comes up\n"
    assert setup == {
        "status": "ready",
        "instance_metadata": about,
        "runtime_metadata": {
            "constellation_version": version("constellation-inference"),
            "driver": "process",
            "node": "n",
        },
    }


async def test_the_end_of_a_node_tells_of_the_boot_that_it_cancels(tmp_path: Path) -> None:
    async with a_node(tmp_path, LOAD) as site:
        site.assign(1)
        await until(lambda: list(tmp_path.glob("nodes/n/processes/*/process.json")), 10.0)

    assert [each["status"] for each in site.receiver.setups] == ["canceled"]
    (state,) = site.receiver.states
    assert state["boot_time"] > 0
    assert state["idle_time"] == state["active_time"] == 0


async def test_with_a_wrong_token_nothing_is_taken_and_the_end_comes_all_the_same(
    tmp_path: Path,
) -> None:
    async with a_node(tmp_path, SERVE, token="another") as site:
        site.assign(1)
        await until(lambda: list(tmp_path.glob("nodes/n/processes/*/process.json")), 10.0)

    assert site.receiver == Receiver()
