"""The scheduler's metrics: their names and labels, and what runs where."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from libs.common.catalog import Backend, Model, Resources
from libs.common.world import World
from libs.common.world_map import Colo, Instance, Node, Ref, Update
from services.scheduler.inventory import deployments, external_instances, external_nodes
from services.scheduler.usage import Key, read
from tests.scheduler.fleet import Site, scheduling
from tests.virtual_time import run

OURS = Model(name="m", task="dumb-pipe", tier="gold", backend=Backend(repository="models/m"))
THEIRS = Model(name="far", task="dumb-pipe", backend=Backend(external=("gpu:1",), provider="acme"))
HERE = {"model": "m", "tier": "gold", "region": "eu"}


def world() -> World:
    made = World()
    puts = (
        *(
            Colo(name="ams", region="eu"),
            Colo(name="fra", region="eu"),
            Colo(name="sfo", region="us"),
        ),
        *(OURS, THEIRS),
        Node(name="n1", colo="ams", gpus=2, gpu_model="H100"),
        Node(name="n2", colo="sfo", gpus=8, gpu_memory_mb=80, gpu_model="A100", provider="cloudy"),
        Node(name="n3", colo="sfo", gpus=4, provider="cloudy"),
        Instance(id="a", model="m", colo="ams", node="n1", state="ready"),
        Instance(id="b", model="m", colo="ams", node="n1", state="booting"),
        Instance(id="c", model="m", colo="sfo", node="n2", state="ready"),
        *(
            Instance(
                id=f"{colo}/far",
                model="far",
                colo=colo,
                address="gpu:1",
                state="ready",
                external=True,
            )
            for colo in ("ams", "fra", "sfo")
        ),
    )
    made.apply(Update(version=1, complete=True, puts=puts))
    return made


def test_instances_on_nodes_are_counted_by_state_and_gpu() -> None:
    assert deployments(world()) == Counter(
        {
            ("m", "gold", "eu", "ready", "H100"): 1,
            ("m", "gold", "eu", "booting", "H100"): 1,
            ("m", "gold", "us", "ready", "A100"): 1,
        }
    )


def test_instances_that_nobody_hears_of_or_reaches_are_away() -> None:
    made = world()
    silent = Node(name="n1", colo="ams", gpus=2, gpu_model="H100", away_since_ms=1)
    made.apply(Update(version=2, puts=(silent,)))

    assert deployments(made) == Counter(
        {("m", "gold", "eu", "away", "H100"): 2, ("m", "gold", "us", "ready", "A100"): 1}
    )
    assert read(made)[Key("m", "eu")].running == 0
    assert read(made)[Key("m", "us")].running == 1


def test_what_others_run_is_counted_once_in_each_region() -> None:
    assert external_instances(world()) == Counter(
        {
            ("acme", "eu", "far", "ready"): 1,
            ("acme", "us", "far", "ready"): 1,
            ("cloudy", "us", "m", "ready"): 1,
        }
    )


@pytest.mark.parametrize(
    ("need", "instances", "used"),
    [
        ({}, 3, 0),
        ({"gpus": 1}, 1, 1),
        ({"gpus": 4, "gpu_memory_mb": 70}, 2, 8),
        ({"gpu_memory_mb": 30}, 3, 2),
        ({"gpus": 8}, 2, 8),
    ],
    ids=["no gpus", "one", "several each", "parts, two to a gpu", "more than there are"],
)
def test_gpus_of_others_are_used_by_what_needs_them_or_free(
    need: dict[str, int], instances: int, used: int
) -> None:
    made = world()
    there = [
        Instance(id=f"i{at}", model="m", colo="sfo", node="n2", state="ready")
        for at in range(instances)
    ]
    failed = Instance(id="failed", model="m", colo="sfo", node="n3", state="failed")
    model = replace(OURS, resources=Resources(**need))  # type: ignore[arg-type]
    made.apply(Update(version=2, puts=(model, *there, failed), deletes=(Ref("instance", "c"),)))

    found = external_nodes(made)

    assert found == {("cloudy", "us", "used"): used, ("cloudy", "us", "free"): 12 - used}


def far_away(site: Site) -> None:
    """Have a model that others run, and a node of theirs with one of ours."""
    site.put(
        THEIRS,
        Instance(id="far", model="far", colo="ams", address="gpu:1", state="ready", external=True),
        Node(name="n2", colo="ams", gpus=4, provider="cloudy"),
        Instance(id="there", model="other", colo="ams", node="n2", state="ready"),
    )


def test_every_metric_has_the_labels_that_its_readers_know() -> None:
    site = Site()

    async def story() -> None:
        async with scheduling(site):
            far_away(site)
            site.load(3, 5)
            await asyncio.sleep(90)

    run(story())
    labels = {
        sample.name: set(sample.labels)
        for family in site.registry.collect()
        for sample in family.samples
    }
    of_model = {"model", "tier", "region"}
    bounds = {"requested_instances", "min_requested_instances", "max_requested_instances"}
    autoscaler = {
        "measured_utilization",
        "estimated_utilization",
        "forecast_utilization",
        "required_instances",
        "snapshot_queue_length",
        "snapshot_replica_count",
    }
    for name in (*bounds, *(f"autoscaler_{each}" for each in autoscaler)):
        assert labels[f"ai_scheduler_{name}"] == of_model
    assert labels["ai_scheduler_model_deployments"] == of_model | {"status", "gpu_model"}
    phased = {"provider", "region", "model", "phase"}
    assert labels["ai_scheduler_external_instances"] == phased
    assert labels["ai_scheduler_external_nodes"] == {"provider", "region", "state"}
    value = site.registry.get_sample_value
    assert value("ai_scheduler_autoscaler_snapshot_queue_length", HERE) == 5
    assert value("ai_scheduler_max_requested_instances", HERE) == 9
    acme = {"provider": "acme", "region": "eu", "model": "far", "phase": "ready"}
    assert value("ai_scheduler_external_instances", acme) == 1
    free = {"provider": "cloudy", "region": "eu", "state": "free"}
    assert value("ai_scheduler_external_nodes", free) == 4


def test_utilizations_are_loads_per_permit_of_the_ready_instances() -> None:
    site = Site()

    async def story() -> None:
        async with scheduling(site):
            site.override(min=5, max=5)
            site.load(3, 5)
            await asyncio.sleep(900)
            site.load(6, 10)
            await asyncio.sleep(125)

    run(story())

    def value(name: str) -> float:
        found = site.registry.get_sample_value(f"ai_scheduler_autoscaler_{name}", HERE)
        assert found is not None
        return found

    decision, permits = site.decision(), 5 * 4
    assert value("measured_utilization") == pytest.approx(16 / permits, rel=0.01)
    assert 8 / permits < value("estimated_utilization") < 15 / permits  # of three minutes
    assert value("forecast_utilization") == pytest.approx(decision.forecast / permits, rel=0.01)
    assert decision.forecast > 16
    assert value("required_instances") == decision.required == -(-decision.forecast // 4)
