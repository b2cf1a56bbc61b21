"""What others are told of instances, field by field."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from libs.common.catalog import Backend, Model, Resources
from libs.common.clock import ManualClock
from libs.common.lifecycle import background
from libs.common.world import World
from libs.common.world_map import EndpointLoad, Instance, Node, Report, ShardLoad, Update
from services.node.ports import SetupRun
from services.node.state_reports import LOG_BYTES, StateReports

CPUS = Resources(cpus=2)
ME = Node(name="ams-1", colo="ams", gpu_model="NVIDIA L4")
RUN = SetupRun(
    instance="ams-1/m/0",
    model="m",
    status="ready",
    scheduled_ms=1_000_000,
    started_ms=1_001_500,
    completed_ms=1_004_000,
    driver="process",
)


class Told:
    def __init__(self) -> None:
        self.bodies: list[Any] = []

    def post(self, body: Any) -> None:
        self.bodies.append(body)

    emit = post


class Telling:
    """Reports of a node that has one instance of one model."""

    def __init__(self, needs: Resources = CPUS, *, image: str = "") -> None:
        self.clock = ManualClock()
        self.states, self.setups, self.spans = Told(), Told(), Told()
        self.world = World()
        model = Model(
            name="m", task="text-generation", backend=Backend(repository="m"), resources=needs
        )
        self.world.apply(Update(version=1, complete=True, puts=(model,)))
        self.reports = StateReports(
            me=ME,
            world=self.world,
            clock=self.clock,
            spans=self.spans,
            version="1.2.3",
            every_s=15.0,
            states=self.states,
            setups=self.setups,
            image=image,
        )

    def passes(self, seconds: float, state: Any, level: int = 0) -> Report:
        endpoint = EndpointLoad(instance="ams-1/m/0", address="", state="healthy", in_flight=level)
        load = ShardLoad(model="m", colo="ams", index=0, server="s", endpoints=(endpoint,))
        self.world.apply(Update(version=self.world.version + 1, puts=(load,)))
        instance = Instance(id="ams-1/m/0", model="m", colo="ams", node="ams-1", state=state)
        report = Report(kind="node", name="ams-1", colo="ams", resources=(ME, instance))
        self.reports.look(report)
        self.clock.advance(seconds)
        return report


def test_an_instances_state_is_told_with_all_its_fields() -> None:
    telling = Telling()
    telling.passes(3.0, "booting")
    telling.passes(6.0, "ready")
    telling.passes(6.0, "ready", 3)

    telling.reports.tell()

    assert telling.states.bodies == [
        {
            "active_time": 6.0,
            "boot_time": 3.0,
            "idle_time": 6.0,
            "metric_duration": 15.0,
            "utilization": 0.4,
            "mean_concurrency": 1.2,
            "deployment_key": "m",
            "docker_image_uri": "",
            "hardware": "cpu",
            "compute_unit": "cpu",
            "compute_unit_count": 2,
            "instance_id": "ams-1/m/0",
            "instance_metadata": {
                "instance": "ams-1/m/0",
                "model": "m",
                "node": "ams-1",
                "colo": "ams",
            },
            "version": "1.2.3",
        }
    ]


def test_one_in_a_container_names_its_image() -> None:
    telling = Telling(image="triton:1")
    telling.passes(1.0, "ready")
    telling.reports.tell()

    telling.reports.ran(replace(RUN, driver="triton"))
    telling.reports.ran(RUN)

    [body] = telling.states.bodies
    assert body["docker_image_uri"] == "triton:1"
    drivers = [each["runtime_metadata"]["driver"] for each in telling.setups.bodies]
    assert drivers == ["docker", "process"]


@pytest.mark.parametrize(
    ("needs", "count"), [(Resources(gpus=2), 2), (Resources(gpu_memory_mb=9), 0)]
)
def test_one_with_gpus_names_them(needs: Resources, count: int) -> None:
    telling = Telling(needs)

    telling.passes(15.0, "ready")
    telling.reports.tell()

    (told,) = telling.states.bodies
    assert (told["hardware"], told["compute_unit"]) == ("NVIDIA L4", "gpu")
    assert told["compute_unit_count"] == count


def test_one_that_has_failed_says_nothing_of_its_state() -> None:
    telling = Telling()

    telling.passes(15.0, "failed")
    telling.reports.tell()

    assert telling.states.bodies == []


NOBODY = Report(kind="node", name="ams-1", colo="ams", resources=(ME,))


def test_the_rest_of_one_that_is_gone_is_told_once() -> None:
    telling = Telling()
    telling.passes(3.0, "booting")
    telling.passes(4.0, "ready", 2)
    telling.reports.tell()
    telling.passes(2.0, "ready", 2)
    telling.passes(1.0, "draining")

    for _ in range(3):
        telling.reports.look(NOBODY)
        telling.reports.tell()
        telling.clock.advance(15.0)

    fields = ("boot_time", "active_time", "idle_time", "metric_duration", "mean_concurrency")
    told = [tuple(body[name] for name in fields) for body in telling.states.bodies]
    assert told == [(3.0, 4.0, 0.0, 7.0, 8 / 7), (0.0, 2.0, 1.0, 3.0, 4 / 3)]


def test_one_that_lives_for_less_than_an_interval_is_told() -> None:
    telling = Telling()
    telling.passes(2.0, "booting")

    telling.reports.look(NOBODY)

    (told,) = telling.states.bodies
    assert (told["boot_time"], told["metric_duration"]) == (2.0, 2.0)


def test_of_one_that_had_failed_there_is_no_rest() -> None:
    telling = Telling()
    telling.passes(2.0, "failed")

    telling.reports.look(NOBODY)

    assert telling.states.bodies == []


async def test_the_end_tells_the_rest_of_what_is_there() -> None:
    telling = Telling()
    report = telling.passes(0.0, "ready")
    async with background(telling.reports.run(lambda: report), name="reports"):
        await asyncio.sleep(0.01)
        telling.clock.advance(5.0)

    (told,) = telling.states.bodies
    assert told["idle_time"] == pytest.approx(5.0)


def test_a_boot_is_told_with_its_times_and_log() -> None:
    telling = Telling()

    telling.reports.ran(RUN)

    (told,) = telling.setups.bodies
    assert told == {
        "status": "ready",
        "started_at": "1970-01-01T00:16:41.500Z",
        "completed_at": "1970-01-01T00:16:44.000Z",
        "logs": "",
        "instance_metadata": {
            "instance": "ams-1/m/0",
            "model": "m",
            "node": "ams-1",
            "colo": "ams",
        },
        "runtime_metadata": {
            "constellation_version": "1.2.3",
            "driver": "process",
            "node": "ams-1",
        },
    }


def test_a_boots_span_has_the_last_of_its_log_and_why_it_failed() -> None:
    telling = Telling()
    log = "ä" * LOG_BYTES + "the end"

    telling.reports.ran(replace(RUN, status="failed", error="no memory", logs=log))

    (span,) = telling.spans.bodies
    told = span.attributes
    assert (span.name, span.has_failed, span.error) == ("node.setupRun", True, "no memory")
    assert told["setuprun.status"] == "failed"
    assert told["setuprun.duration_seconds"] == 2.5
    assert told["setuprun.scheduled_to_setup_started"] == 1.5
    assert told["setuprun.scheduled_to_ready"] == 4.0
    assert told["setuprun.logs"].endswith("the end")
    assert LOG_BYTES - 1 <= len(told["setuprun.logs"].encode()) <= LOG_BYTES
