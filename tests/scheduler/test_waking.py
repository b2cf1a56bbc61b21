"""A model without instances is started for the first call that waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from libs.common.catalog import Backend, Model, Scaling
from libs.common.world import World
from libs.common.world_map import Colo, Instance, InstanceState, Resource, ShardLoad, Update, ref
from services.scheduler.waking import Waking

MODEL = Model(
    name="m", task="dumb-pipe", backend=Backend(repository="models/m"), scaling=Scaling(min=0)
)
OTHERS = Model(name="o", task="dumb-pipe", backend=Backend(external=("gpu-1:8001",)))


class Story:
    """A world, and what is seen of each change of it."""

    def __init__(self) -> None:
        self.world = World()
        self.waking = Waking(self.world)
        self.put(Colo(name="ams", region="eu"), Colo(name="iad", region="us"), MODEL, OTHERS)

    def put(self, *resources: Resource) -> bool:
        update = Update(version=self.world.version + 1, complete=False, puts=resources)
        self.world.apply(update)
        return self.waking.is_due(update)

    def delete(self, *resources: Resource) -> bool:
        deletes = tuple(ref(each) for each in resources)
        update = Update(version=self.world.version + 1, complete=False, deletes=deletes)
        self.world.apply(update)
        return self.waking.is_due(update)


def load(queued: int, *, colo: str = "ams", model: str = "m") -> ShardLoad:
    return ShardLoad(model=model, colo=colo, index=0, server=f"{colo}-1", queued=queued)


def instance(state: InstanceState = "ready", *, colo: str = "ams") -> Instance:
    return Instance(id=f"{colo}-1/m/0", model="m", colo=colo, node=f"{colo}-1", state=state)


def test_a_call_that_waits_for_the_first_instance_is_seen_once() -> None:
    story = Story()

    assert not story.put(load(0))
    assert story.put(load(1))
    assert not story.put(load(2))


@pytest.mark.parametrize("state", ["booting", "ready"])
def test_where_there_is_an_instance_the_tick_is_early_enough(state: InstanceState) -> None:
    story = Story()
    story.put(instance(state))

    assert not story.put(load(3))


@pytest.mark.parametrize("state", ["draining", "failed"])
def test_one_that_drains_or_has_failed_serves_no_call(state: InstanceState) -> None:
    story = Story()
    story.put(instance("ready"))
    story.put(instance(state))

    assert not story.put(load(0))
    assert story.put(load(1))
    assert not story.put(load(2))


@pytest.mark.parametrize("state", ["draining", "failed", "gone"])
def test_a_call_that_waits_already_as_the_last_one_goes_is_seen(state: Any) -> None:
    story = Story()
    story.put(instance("ready"), load(1))

    if state == "gone":
        assert story.delete(instance())
    else:
        assert story.put(instance(state))


def test_one_that_fails_again_is_seen_again_only_after_it_has_booted() -> None:
    story = Story()
    story.put(instance("failed"))
    assert story.put(load(1))

    assert not story.put(replace(instance("failed"), message="no memory"))
    assert not story.put(instance("booting"))
    assert story.put(instance("failed"))


def test_each_region_is_seen_for_itself() -> None:
    story = Story()
    story.put(instance(colo="ams"))

    assert story.put(load(1, colo="iad"))


def test_after_an_instance_came_and_went_the_next_call_is_seen_again() -> None:
    story = Story()
    story.put(load(1))
    story.put(instance())
    story.put(load(0))

    assert not story.delete(instance())
    assert story.put(load(1))


def test_what_others_run_is_not_ours_to_start() -> None:
    assert not Story().put(load(5, model="o"))


def test_a_model_that_the_catalog_has_no_more_is_left_alone() -> None:
    assert not Story().put(load(5, model="gone"))
