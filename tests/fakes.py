"""Hand-written fakes, for what the real thing cannot be made to do on demand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from libs.common.catalog import Backend as BackendConfig
from libs.common.catalog import Model, Permits, Price, Scaling
from libs.common.clock import Clock, SystemClock
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest, TimeBounds
from libs.common.errors import DeadlineExceeded, Unavailable
from libs.common.events.sinks import MemorySink
from libs.common.explanation import Explanation, Question
from libs.common.finetunes import NewFinetune, UploadHead, Written
from libs.common.ports import Send
from libs.common.spans import Spans
from libs.common.usage import RecentPage, RecentQuery, UsageQuery, UsageRow
from libs.common.world import World
from libs.common.world_map import Instance, Resource, Server, Shard, Update
from services.server.endpoints import Endpoint
from services.server.health import Health
from services.server.killers import Killers
from services.server.losses import Losses
from services.server.metrics import ServerMetrics
from services.server.outcomes import Outcomes
from services.server.outliers import Limits
from services.server.ports import Answer, Backend, Depth
from services.server.retries import RetryLimits
from services.server.service import InferenceServer
from services.server.traces import Traces

MODEL = "@cf/test/echo"
COLO = "ams"
SERVER = "ams-server"


@contextmanager
def late() -> Iterator[None]:
    """Say it in our words when a time bound passes."""
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded("no part came in time", sent=True) from error


class ScriptedBackend:
    """A model that does what the test says: `on_infer` and `on_stream` may be replaced."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, InferRequest]] = []
        self.closed = 0
        self.sent = 0
        self.probes: list[tuple[str, Depth]] = []
        self.on_probe: Callable[[Endpoint, Depth], Awaitable[bool | None]] = self._well
        self.on_infer: Callable[[Endpoint, InferRequest], Awaitable[bytes]] = self._echo
        self.on_stream: Callable[[Endpoint, InferRequest], AsyncGenerator[bytes, None]] = (
            self._three_parts
        )

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        self.calls.append((endpoint.instance, request))
        with late():
            async with asyncio.timeout(timeout_s):
                return Answer(await self.on_infer(endpoint, request))
        raise AssertionError("late() raises")

    async def stream(
        self,
        endpoint: Endpoint,
        model: Model,
        request: InferRequest,
        send: Send,
        *,
        deadline: Deadline,
    ) -> None:
        self.calls.append((endpoint.instance, request))
        parts, due = self.on_stream(endpoint, request), min(deadline.first_part, deadline.total)
        try:
            while True:
                with late():
                    if due <= asyncio.get_running_loop().time():  # it may never pause
                        raise TimeoutError
                    async with asyncio.timeout_at(due):
                        part = await anext(parts, None)
                if part is None:
                    return
                self.sent += 1
                room = send((part,))
                if room is not None:
                    await room
                due = min(asyncio.get_running_loop().time() + deadline.idle, deadline.total)
        finally:
            await parts.aclose()
            self.closed += 1

    async def probe(
        self, endpoint: Endpoint, model: Model, depth: Depth, *, timeout_s: float
    ) -> bool | None:
        self.probes.append((endpoint.instance, depth))
        try:
            async with asyncio.timeout(timeout_s):
                return await self.on_probe(endpoint, depth)
        except TimeoutError:
            return False

    async def _well(self, endpoint: Endpoint, depth: Depth) -> bool | None:
        return None if depth == "inference" else True

    async def _echo(self, endpoint: Endpoint, request: InferRequest) -> bytes:
        return request.payload

    async def _three_parts(
        self, endpoint: Endpoint, request: InferRequest
    ) -> AsyncGenerator[bytes, None]:
        for number in range(3):
            await asyncio.sleep(0)
            yield b"part %d" % number


async def endless(*_: object) -> AsyncGenerator[bytes, None]:
    """A model's stream that has no end."""
    while True:
        await asyncio.sleep(0.001)
        yield b"more"


def a_model(name: str = MODEL, **changes: object) -> Model:
    defaults: dict[str, object] = {
        "task": "text-generation",
        "backend": BackendConfig(repository="models/echo"),
        "permits": Permits(per_instance=2, queue=2),
        "price": Price(per_request=1.0, per_token_out=0.5),
        "scaling": Scaling(boot_s=1.0),
    }
    return Model(name=name, **{**defaults, **changes})  # type: ignore[arg-type]


def an_instance(number: int = 0, *, state: str = "ready", model: str = MODEL) -> Instance:
    return Instance(
        id=f"ams-node/echo/{number}",
        model=model,
        colo=COLO,
        node="ams-node",
        address=f"127.0.0.1:{9000 + number}",
        state=state,  # type: ignore[arg-type]
    )


def a_request(**changes: object) -> InferRequest:
    defaults: dict[str, object] = {
        "request_id": "0" * 26,
        "account": "a" * 32,
        "model": MODEL,
        "payload": b"hello",
        "source_colo": COLO,
        "time_bounds": TimeBounds(first_part_ms=2_000, idle_ms=2_000, total_ms=5_000),
    }
    said = {**defaults, **changes}
    required = {name: said.pop(name) for name in ("request_id", "account", "model", "payload")}
    request = InferRequest(**required)  # type: ignore[arg-type]
    for name, value in said.items():
        assert hasattr(request, name), name
        setattr(request, name, value)
    return request


def a_world(*resources: Resource, model: Model | None = None) -> World:
    """A world with one model, whose shard in `COLO` belongs to `SERVER`."""
    model = model or a_model()
    shards = (Shard(model=model.name, colo=COLO, index=0, owner=SERVER, epoch=1),)
    world = World()
    world.apply(Update(version=1, complete=True, puts=(model, *shards, *resources)))
    return world


def put(world: World, *resources: Resource, complete: bool = False) -> None:
    """Put resources into a world, in place of all that was there if they are complete."""
    world.apply(Update(version=world.version + 1, complete=complete, puts=resources))


def a_health(metrics: ServerMetrics, clock: Clock) -> Health:
    return Health(Limits(), metrics=metrics, clock=clock, rng=random.Random(1))


def some_losses(
    health: Health, metrics: ServerMetrics, clock: Clock, retries: RetryLimits | None = None
) -> Losses:
    return Losses(
        health=health,
        killers=Killers(),
        retries=retries or RetryLimits(),
        metrics=metrics,
        clock=clock,
    )


def a_server(
    world: World,
    backend: Backend,
    sink: MemorySink,
    clock: Clock | None = None,
    *,
    name: str = SERVER,
    colo: str = COLO,
    address: str = "",
    metrics: ServerMetrics | None = None,
    retries: RetryLimits | None = None,
    http: Backend | None = None,
    spans: Spans | None = None,
    **more: Any,
) -> InferenceServer:
    clock = clock or SystemClock()
    metrics = metrics or ServerMetrics(CollectorRegistry())
    health = a_health(metrics, clock)
    return InferenceServer(
        me=Server(name=name, colo=colo, address=address or f"local:{name}", boot_epoch=1),
        world=world,
        backends={"triton": backend, "openai_http": http or backend},
        outcomes=Outcomes(
            colo=colo,
            sink=sink,
            metrics=metrics,
            health=health,
            clock=clock,
            traces=Traces(spans, server=name, colo=colo, now=clock.now) if spans else None,
        ),
        losses=some_losses(health, metrics, clock, retries),
        clock=clock,
        rng=random.Random(1),
        **more,
    )


class FakeUsage:
    """Answers with what it was given; keeps what it was asked."""

    def __init__(
        self, *rows: UsageRow, page: RecentPage | None = None, error: Exception | None = None
    ) -> None:
        self.rows = list(rows)
        self.page = page or RecentPage(events=(), next=None)
        self.error = error
        self.is_silent = False
        self.asked: list[UsageQuery | RecentQuery] = []

    async def query(self, query: UsageQuery) -> list[UsageRow]:
        await self._ask(query)
        return self.rows

    async def recent(self, query: RecentQuery) -> RecentPage:
        await self._ask(query)
        return self.page

    async def _ask(self, query: UsageQuery | RecentQuery) -> None:
        self.asked.append(query)
        if self.error is not None:
            raise self.error
        if self.is_silent:
            await asyncio.Event().wait()


class NoDecisions:
    """Has none to explain; the real ones are the scheduler's."""

    async def explain(self, question: Question) -> Explanation:
        return Explanation()


class NoFinetunes:
    """Refuses all writes of finetunes; the real ones are control's."""

    async def create(self, new: NewFinetune) -> Written:
        raise Unavailable("no control")

    async def upload(self, head: UploadHead, chunks: AsyncIterator[bytes]) -> Written:
        raise Unavailable("no control")

    async def delete(self, account: str, name: str) -> Written:
        raise Unavailable("no control")
