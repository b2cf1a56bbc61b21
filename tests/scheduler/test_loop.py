"""The loop in virtual time: it follows the load, keeps to what operators say, and says why."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from libs.common.catalog import Scaling, Schedule
from libs.common.errors import Unavailable
from libs.common.spans import Span
from libs.common.world_map import Decision, Instance, InstanceState, Node, Override, Ref
from services.scheduler.usage import Key
from tests.scheduler.fleet import EU, MODEL, Site, scheduling
from tests.virtual_time import now, run

ASLEEP = replace(MODEL, scaling=Scaling(min=0, max=9, boot_s=20.0, keep_alive_s=300.0))


def test_instances_follow_the_load_up_within_seconds_and_down_later() -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site):
            await asyncio.sleep(200)
            assert site.instances() == 1

            site.load(20, 4)
            jumped = now()
            while site.instances() < 6:
                await asyncio.sleep(1)
            assert now() - jumped <= 15

            await asyncio.sleep(300)
            site.load(0)
            await asyncio.sleep(30)
            assert site.instances() >= 6
            await asyncio.sleep(1_500)
            assert site.instances() == 1

    run(story())


def test_every_decision_is_kept_with_its_inputs_and_why() -> None:
    async def story() -> Site:
        site = Site()
        async with scheduling(site):
            site.load(4, arrivals=100)
            await asyncio.sleep(20)
            site.load(6, 2, arrivals=130, done=20, service_s=60.0, waited_1s=3)
            await asyncio.sleep(180)
        return site

    site = run(story())

    last = site.archive.decisions[-1]
    assert last == site.decision()
    assert (last.model, last.region, last.cause) == ("m", "eu", "tick")
    assert (last.min, last.max, last.slo_late_share, last.boot_s) == (1, 9, 0.003, 20.0)
    assert last.demand == pytest.approx(8, abs=1)
    assert last.forecast > last.demand
    assert (last.queued, last.service_s, last.saturated) == (2, 3.0, 0.0)
    assert len(last.probabilities) == len(last.quantiles) > 3
    assert list(last.quantiles) == sorted(last.quantiles)
    assert last.reason.startswith("a demand of 8.0, up to ")
    assert last.placed == last.desired == site.instances()
    first = next(each for each in site.archive.decisions if each.late)
    assert (first.arrivals, first.late) == (30, 3)


def test_a_model_wakes_for_the_first_call_and_stays_for_a_while() -> None:
    async def story() -> None:
        site = Site(ASLEEP)
        site.load(0)
        async with scheduling(site):
            await asyncio.sleep(130)
            assert site.instances() == 0

            site.load(0, 1)
            called = now()
            while not site.instances():
                await asyncio.sleep(0.1)
            assert now() - called < 1
            assert site.decision().cause == "wake"

            await asyncio.sleep(20)
            site.load(0)
            await asyncio.sleep(250)
            assert site.instances() == 1
            await asyncio.sleep(400)
            assert site.instances() == 0

    run(story())


@pytest.mark.parametrize("state", ["draining", "failed"])
def test_it_wakes_for_a_call_while_the_last_instance_goes(state: InstanceState) -> None:
    async def story() -> None:
        site = Site(ASLEEP)
        site.load(0)
        async with scheduling(site):
            await asyncio.sleep(131)  # between two steps
            site.put(Instance(id="m/9", model="m", colo="ams", node="n1", state=state))
            assert site.instances() == 0

            site.load(0, 1)
            await asyncio.sleep(0.5)
            assert site.instances() == 1

    run(story())


def test_it_wakes_for_a_call_that_could_not_wait_too() -> None:
    async def story() -> None:
        site = Site(ASLEEP)
        site.load(0, arrivals=7, rejected={"ams": 7})
        async with scheduling(site):
            await asyncio.sleep(62)
            assert site.instances() == 0

            site.load(0, arrivals=8, rejected={"ams": 8})
            await asyncio.sleep(0.5)
            assert site.instances() == 1

    run(story())


def test_bounds_count_at_once_and_an_override_ends_by_itself() -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site):
            await asyncio.sleep(62)
            site.override(min=3, max=3, expires_at_ms=200_000)
            await asyncio.sleep(0.5)
            assert site.instances() == 3
            assert site.decision().reason.endswith(
                "the minimum is 3; an override holds until 1970-01-01 00:03 UTC"
            )
            await asyncio.sleep(150)
            assert not site.world.table(Override)
            await asyncio.sleep(300)
            assert site.instances() == 1

    run(story())


@pytest.mark.parametrize("how", ["frozen", "dry_run", "setting"])
def test_what_is_held_stays_as_it_is(how: str) -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site):
            await asyncio.sleep(5)
        async with scheduling(site, dry_run=how == "setting"):
            if how != "setting":
                site.override(**{how: True})
            site.load(30)
            await asyncio.sleep(130)
            assert site.instances() == 1
            assert site.decision().is_held
            assert site.decision().required >= 8
            if how == "frozen":
                assert site.decision().desired == 1
                assert "frozen at 1" in site.decision().reason
            else:
                assert site.decision().desired >= 8
                assert "a dry run: it stays at 1" in site.decision().reason
            if how != "setting":
                site.delete(Ref("override", "m@"))
                await asyncio.sleep(0.5)
                assert site.instances() >= 8

    run(story())


def test_a_schedule_has_instances_ready_at_its_time() -> None:
    model = replace(
        MODEL,
        scaling=replace(MODEL.scaling, schedules=(Schedule(cron="10 0 * * *", minutes=10, min=4),)),
    )

    async def story() -> None:
        site = Site(model)
        async with scheduling(site):
            await asyncio.sleep(570)
            assert site.instances() == 1
            await asyncio.sleep(29)
            assert site.ready() == 4
            await asyncio.sleep(600)
            assert site.instances() == 4
            await asyncio.sleep(300)
            assert site.instances() == 1

    run(story())


def test_why_nothing_fits_is_part_of_the_decision() -> None:
    async def story() -> None:
        site = Site(cpus=3.0)
        async with scheduling(site):
            site.load(30)
            await asyncio.sleep(70)
            decision = site.decision()
            assert (decision.placed, site.instances()) == (3, 3)
            assert decision.desired >= 8
            assert "no room for" in decision.reason

    run(story())


def test_a_restart_changes_nothing() -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site):
            site.load(24)
            await asyncio.sleep(400)
        assert set(site.archive.kept) == {EU}
        assert site.archive.kept[EU].boot_s == 20.0
        before, told = site.instances(), len(site.told)
        async with scheduling(site):
            await asyncio.sleep(120)
        assert site.instances() == before
        assert len(site.told) == told

    run(story())


def test_a_damaged_history_costs_no_more_than_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site):
            await asyncio.sleep(10)
        site.archive.kept[EU] = site.archive.kept[EU]._replace(series=b"damaged")
        async with scheduling(site):
            await asyncio.sleep(10)
            assert site.instances() == 1

    run(story())
    assert "m in 'eu' begins without its history" in caplog.text


def test_no_error_ends_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> Site:
        site = Site()
        site.errors = [Unavailable("away"), KeyError("a bug")]
        async with scheduling(site):
            await asyncio.sleep(20)
            assert site.instances() == 1
            assert site.registry.get_sample_value("ai_scheduler_failed_ticks_total") == 2
        return site

    run(story())
    assert len([each for each in caplog.records if each.exc_info]) == 1


def test_a_store_that_is_away_costs_no_decision(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        site = Site()
        site.archive.is_away = True
        async with scheduling(site):
            site.load(20)
            await asyncio.sleep(100)
            assert site.instances() >= 6
            site.archive.is_away = False
            await asyncio.sleep(60)
            assert site.archive.decisions

    run(story())
    assert caplog.text.count("decisions and history are not kept: away") == 1


def test_what_could_not_be_saved_is_saved_as_soon_as_the_store_is_back() -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site):
            site.load(20)
            await asyncio.sleep(200)
            site.archive.is_away = True
            await asyncio.sleep(300)  # so each series' moment passes
            site.archive.kept.clear()
            site.archive.is_away = False
            await asyncio.sleep(6)
            assert EU in site.archive.kept

    run(story())


def test_the_fleet_is_not_decided_and_saved_at_one_moment() -> None:
    models = [replace(MODEL, name=f"m{number}") for number in range(60)]

    async def story() -> Site:
        site = Site(*models, cpus=1000)
        async with scheduling(site):
            await asyncio.sleep(5 + 600)
        return site

    site = run(story())

    ticks = Counter(each.at_ms for each in site.archive.decisions if each.cause == "tick")
    assert len(ticks) > 100
    assert max(ticks.values()) < 20
    per_model = Counter(each.model for each in site.archive.decisions if each.cause == "tick")
    assert set(per_model.values()) <= {10, 11}
    assert 2 * 60 <= site.archive.saves <= 4 * 60


def test_many_changes_do_not_keep_it_from_deciding() -> None:
    async def story() -> Site:
        site = Site()
        async with scheduling(site):
            for number in range(400):
                site.put(Node(name=f"n{number % 3}", colo="ams", cpus=9 + number % 7))
                await asyncio.sleep(1)
        return site

    causes = Counter(each.cause for each in run(story()).archive.decisions)

    assert 6 <= causes["tick"] <= 8


def test_the_last_snapshots_are_there() -> None:
    async def story() -> Site:
        site = Site()
        async with scheduling(site):
            site.load(3, 7)
            await asyncio.sleep(700)
        return site

    snapshots = list(run(story()).snapshots.of("m"))

    assert len(snapshots) == 120
    assert (snapshots[-1].queue_length, snapshots[-1].replica_count) == (
        7,
        snapshots[-1].replica_count,
    )
    assert snapshots[0].at_ms < snapshots[-1].at_ms


def test_a_model_that_comes_back_has_its_history() -> None:
    async def story() -> None:
        site = Site()
        async with scheduling(site) as scheduler:
            site.load(20)
            await asyncio.sleep(200)
            site.delete(Ref("model", "m"))
            await asyncio.sleep(10)
            assert site.instances() == 0
            assert Key("m", "eu") not in scheduler._sizer.following
            assert not site.world.table(Decision)
            site.put(MODEL)
            await asyncio.sleep(1)
            assert site.instances() >= 5

    run(story())


def test_decisions_are_spans_with_the_last_snapshots() -> None:
    class Collector:
        def __init__(self) -> None:
            self.spans: list[Span] = []

        def emit(self, span: Span) -> None:
            self.spans.append(span)

    collector = Collector()

    async def story() -> None:
        site = Site()
        async with scheduling(site, spans=collector):
            site.load(1, 2)
            await asyncio.sleep(11)
            site.override(min=3)
            await asyncio.sleep(1)

    run(story())

    assert collector.spans[-1].name == "autoscaler.scaleVersion"
    last = collector.spans[-1].attributes
    assert (last["model"], last["tier"]) == ("m", "gold")
    assert last["old_replica_count"] != last["new_replica_count"] == 3
    snapshots = orjson.loads(str(last["snapshots"]))
    assert [each["queue_length"] for each in snapshots] == [2] * len(snapshots)
    assert len(snapshots) == 4
