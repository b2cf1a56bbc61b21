"""What every InstanceDriver does: in a Triton, as a process, in a container of a real engine."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.node.drivers import processes
from services.node.drivers.process import sessions_in
from services.node.ports import BootFailed
from tests.cluster.fleets import a_fleet
from tests.contract.drivers import LINE, AsContainer, AsProcess, AsTriton, Way

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("process driver"),  # ports are taken a moment after they were free
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


@pytest.fixture(
    params=[
        "shared",
        pytest.param("dedicated", marks=pytest.mark.long),
        "process",
        pytest.param("docker", marks=pytest.mark.cluster),
    ]
)
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    """Every driver in turn; whatever a test leaves running is ended."""
    if request.param == "docker":
        async with a_fleet() as containers:
            yield AsContainer(tmp_path, containers)
    elif request.param == "process":
        yield AsProcess(tmp_path)
        for each in sessions_in(tmp_path / "node"):
            await each.end(stop_s=0.0)
    else:
        environment = request.getfixturevalue("triton_environment")
        yield AsTriton(tmp_path, environment, dedicated=request.param == "dedicated")
        for process in processes.mentioning(tmp_path):
            process.signal(signal.SIGKILL)


async def test_an_instance_starts_serves_and_stops(way: Way) -> None:
    spec = way.spec
    async with way.driver() as driver:
        assert await driver.running() == {}

        running = await driver.start(spec)

        assert (running.id, running.model) == (spec.id, spec.model)
        assert await way.serves(running.address, spec)
        assert await driver.running() == {spec.id: running}
        assert len(await way.traces()) == 1

        await driver.stop(spec.id)

        assert await driver.running() == {}
        assert await way.traces() == []
        await driver.stop(spec.id)
        await driver.stop("nobody/knows/0")
    assert await way.leftovers() == []


async def test_a_start_of_what_runs_changes_nothing(way: Way) -> None:
    spec = way.spec
    async with way.driver() as driver:
        first, second = await asyncio.gather(driver.start(spec), driver.start(spec))
        traces = await way.traces()

        assert first == second == await driver.start(spec)
        assert len(traces) == 1
        assert await way.traces() == traces


async def test_one_that_does_not_start_fails_with_its_log_and_leaves_nothing(way: Way) -> None:
    async with way.driver() as driver:
        with pytest.raises(BootFailed) as failed:
            await driver.start(way.broken)

        assert LINE in failed.value.log
        assert "this model is broken" in failed.value.log
        assert await driver.running() == {}
        assert await way.traces() == []
        assert (await driver.start(way.spec)).id == way.spec.id


async def test_one_that_is_killed_runs_no_more_and_comes_back_once(way: Way) -> None:
    spec = way.spec
    async with way.driver() as driver:
        await driver.start(spec)
        before = await way.traces()
        await way.kill()
        assert await driver.running() == {}

        again = await driver.start(spec)

        assert await way.serves(again.address, spec)
        assert await driver.running() == {spec.id: again}
        after = await way.traces()
        assert len(after) == 1
        assert after != before
    assert await way.leftovers() == []


async def test_a_detached_driver_leaves_its_instances_to_the_next(way: Way) -> None:
    spec = way.spec
    async with way.driver(detach=True) as driver:
        running = await driver.start(spec)
    traces = await way.traces()
    assert await way.serves(running.address, spec)

    async with way.driver(detach=True) as driver:
        found = await driver.running()
        assert found == {spec.id: running}
        adopted = found[spec.id].spec
        assert adopted is not None
        assert not adopted.differs_from(spec)
        assert await driver.start(spec) == running
        assert await way.traces() == traces

    async with way.driver(detach=True) as driver:
        await way.kill()
        assert await driver.running() == {}
    async with way.driver(detach=True) as driver:
        assert await driver.running() == {}
        assert await way.traces() == []
    async with way.driver():
        pass
    assert await way.leftovers() == []


async def test_an_instance_becomes_another_under_its_id(way: Way) -> None:
    spec = way.spec
    other = replace(way.other, id=spec.id)
    async with way.driver() as driver:
        await driver.start(spec)
        before = await way.traces()

        running = await driver.start(other)

        assert await way.serves(running.address, other)
        assert list(await driver.running()) == [spec.id]
        assert len(await way.traces()) == len(before) == 1


@pytest.mark.parametrize("after_s", [0.0, 0.2, 1.0])
async def test_a_start_that_is_cancelled_leaves_nothing_that_stop_does_not_take_down(
    way: Way, after_s: float
) -> None:
    slow = way.slow
    async with way.driver() as driver:
        starting = asyncio.create_task(driver.start(slow))
        await asyncio.sleep(after_s)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

        assert await driver.running() == {}
        await driver.stop(slow.id)

        assert await way.traces() == []
        assert (await driver.start(slow)).id == slow.id
        assert len(await way.traces()) == 1
