"""Sick endpoints under load: two real Tritons, one of them harmed; how soon it is left and back.

Each test tells what it measured and asserts the bounds that the settings give.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from libs.common import wire
from libs.common.catalog import Model, Permits
from libs.common.catalog_files import load_catalog
from libs.common.clock import SystemClock
from libs.common.envelope import TimeBounds
from libs.common.errors import RequestError
from libs.common.events.sinks import MemorySink
from libs.common.lifecycle import background
from libs.common.world_map import Instance
from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec
from services.server.app import App, Config, build
from services.server.endpoints import Endpoint
from services.server.metrics import ServerMetrics
from services.server.outliers import DEAD, FAILING, HEALTHY, LOST, SLOW
from services.server.service import nowhere
from tests.fakes import COLO, SERVER, a_request, a_world
from tests.short_dirs import short_dir
from tests.system.harness import CHAT, ROOT, processes_of, tritons_of
from tests.system.load import counts
from tests.system.relay import Fault, Relay, relaying

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("processes")]
Told = Callable[[str, object], None]
CALLERS = 4
BOUNDS = TimeBounds(first_part_ms=1500, idle_ms=1500, total_ms=1500)
CONFIG = Config(name=SERVER, colo=COLO, probe_idle_s=3, outlier_backoff_s=2)


class Hospital:
    """A server of two Tritons, and calls that come all the time."""

    def __init__(
        self, app: App, relays: list[Relay], drivers: list[TritonDriver], folder: Path
    ) -> None:
        self.app = app
        self.relays = relays
        self.drivers = drivers
        self.folder = folder
        self.ends: Counter[str] = Counter()

    @property
    def sick(self) -> Endpoint:
        (shard,) = self.app.server.shards
        return next(iter(shard.turnstile.endpoints.values()))

    async def ask(self) -> None:
        """Call, one after the other, until cancelled."""
        tensors = [
            wire.text("text_input", "Hi"),
            wire.text("sampling_parameters", '{"max_tokens": 1}'),
        ]
        payload = wire.tensors_to_payload(tensors)
        number = 0
        while True:
            number += 1
            request = a_request(model=CHAT, payload=payload, time_bounds=BOUNDS)
            try:
                await self.app.server.infer(request)
                self.ends["answered"] += 1
            except RequestError as error:
                self.ends[error.reason] += 1
            await asyncio.sleep(0.02)

    async def until(self, wanted: Callable[[Endpoint], bool], *, seconds: float) -> float:
        """Wait for the first endpoint to be so; return how long that took."""
        begun = time.monotonic()
        while not wanted(self.sick):
            assert time.monotonic() < begun + seconds, (self.sick, self.ends)
            await asyncio.sleep(0.01)
        return time.monotonic() - begun

    async def left(self, cause: str, *, seconds: float) -> float:
        return await self.until(lambda e: e.condition.cause == cause, seconds=seconds)

    async def back(self, *, seconds: float) -> float:
        return await self.until(lambda e: e.condition.state == HEALTHY, seconds=seconds)

    def cost(self, left_s: float, back_s: float) -> str:
        ends = counts(self.ends, good="answered")
        return f"{ends}; left after {left_s:.2f} s, back after {back_s:.2f} s"


@asynccontextmanager
async def hospital(*, callers: int = CALLERS) -> AsyncIterator[Hospital]:
    model = a_model()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_dir())
        relays, drivers = [], []
        for number in range(2):
            # after streams that were cancelled Triton is slow to end, and there is nothing to save
            driver = TritonDriver(
                folder=folder / str(number), environment=ROOT / ".triton", stop_seconds=0.5
            )
            drivers.append(await stack.enter_async_context(driver))
            running = await driver.start(spec(number))
            relays.append(await stack.enter_async_context(relaying(running.address)))
        instances = [
            Instance(id=spec(n).id, model=CHAT, colo=COLO, address=relay.address, state="ready")
            for n, relay in enumerate(relays)
        ]
        world = a_world(*instances, model=model)
        metrics = ServerMetrics(CollectorRegistry())
        app = build(
            CONFIG,
            world=world,
            connections=nowhere,
            sink=MemorySink(),
            metrics=metrics,
            clock=SystemClock(),
        )
        app.server.shards.sync()
        stack.push_async_callback(app.triton.close)
        await stack.enter_async_context(background(app.prober.run(), name="prober"))
        await stack.enter_async_context(background(app.sampler.run(), name="sampler"))
        made = Hospital(app, relays, drivers, folder)
        for _ in range(callers):
            await stack.enter_async_context(background(made.ask(), name="caller"))
        await asyncio.sleep(2)
        assert set(made.ends) <= {"answered"}
        yield made


def a_model() -> Model:
    (model,) = (m for m in load_catalog(ROOT / "config", root=ROOT).models if m.name == CHAT)
    return replace(model, permits=Permits(per_instance=4, queue=64))


def spec(number: int) -> InstanceSpec:
    return InstanceSpec(
        id=f"node-{number}/text_generation/0",
        model=CHAT,
        served_as="text_generation",
        repository=ROOT / "models/text_generation",
    )


FAULT_TEXTS: dict[Fault, str] = {
    "hang": "an endpoint that hangs",
    "slow": "an endpoint that is slow",
    "reset": "an endpoint that resets its connections",
}
FAULTS: list[tuple[Fault, str, float, float, int]] = [
    # twice a period, a fifth longer, and the time of a probe: 4.4 s, and calls have 1.5 s each
    ("hang", LOST, 8.0, 16.0, 3 * CALLERS),
    ("reset", LOST, 3.0, 16.0, CALLERS),  # a call waits for a connection for a second
    ("slow", SLOW, 15.0, 16.0, 0),  # ten calls that take half a second
]


@pytest.mark.parametrize(
    ("fault", "cause", "left_s", "back_s", "cost"), FAULTS, ids=[f[0] for f in FAULTS]
)
async def test_an_endpoint_with_a_fault_is_left_and_taken_back(
    told: Told, fault: Fault, cause: str, left_s: float, back_s: float, cost: int
) -> None:
    async with hospital() as sick:
        await sick.relays[0].become(fault)
        left = await sick.left(cause, seconds=left_s)
        until_left = Counter(sick.ends)
        await asyncio.sleep(3)
        while_left = sick.ends - until_left
        await sick.relays[0].become("none")
        back = await sick.back(seconds=back_s)
        told(FAULT_TEXTS[fault], sick.cost(left, back))

    assert until_left.total() - until_left["answered"] <= cost
    assert while_left["answered"] > 40  # in 3 s, of some 200 on a machine that is not busy
    assert (
        while_left.total() - while_left["answered"] <= CALLERS
    )  # those that were on their way there


async def test_a_dead_stub_is_left_at_once_and_back_only_when_the_model_answers(
    told: Told,
) -> None:
    async with hospital() as sick:
        kill_stubs(sick.folder / "0")
        left = await sick.left(DEAD, seconds=6)
        until_left = Counter(sick.ends)
        await asyncio.sleep(6)  # Triton calls the model ready all the time
        assert sick.sick.condition.cause == DEAD
        while_left = sick.ends - until_left
        await sick.drivers[0].stop(spec(0).id)
        await sick.drivers[0].start(spec(0))
        back = await sick.back(seconds=16)
        told("kill -9 of a model's stub", sick.cost(left, back))

    assert while_left["unavailable"] <= 3
    assert while_left["answered"] > 200


async def test_a_dead_stub_that_nobody_calls_is_found_by_a_probe() -> None:
    async with hospital(callers=0) as sick:
        kill_stubs(sick.folder / "0")
        await sick.left(FAILING, seconds=10)
        await sick.drivers[0].stop(spec(0).id)
        await sick.drivers[0].start(spec(0))
        await sick.back(seconds=16)


async def test_a_stopped_triton_is_left_and_taken_back(told: Told) -> None:
    async with hospital() as sick:
        (pid,) = tritons_of(sick.folder / "0")
        os.kill(pid, signal.SIGSTOP)
        left = await sick.left(LOST, seconds=8)
        os.kill(pid, signal.SIGCONT)
        back = await sick.back(seconds=16)
        told("a Triton that is stopped", sick.cost(left, back))


def kill_stubs(folder: Path) -> None:
    stubs = {
        pid: command
        for pid, command in processes_of(folder).items()
        if "triton_python_backend_stub" in command
    }
    assert stubs
    for pid in stubs:
        os.kill(pid, signal.SIGKILL)
