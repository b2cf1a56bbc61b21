"""One process's hot path without sockets: bytes in, the model's answer, bytes out; and its cost."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from libs.common import wire
from libs.common.catalog import Backend, Model, Permits, UsageTensors
from libs.common.clock import SystemClock
from libs.common.events.occurrences import Occurrence
from libs.common.events.values import Event
from libs.common.pb import kserve_pb2 as kserve
from libs.common.spans import Spans
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import (
    Account,
    Colo,
    Instance,
    Server,
    Shard,
    ShardLoad,
    Token,
    Update,
)
from libs.eager import Promise, turns_of
from libs.http1 import HttpServer
from libs.lean import Method
from services.entry.app import Config, build
from services.entry.metrics import EntryMetrics
from services.server.backends.triton import TritonBackend
from services.server.metrics import ServerMetrics
from services.server.outcomes import Outcomes
from services.server.service import InferenceServer
from services.server.traces import Traces
from tests.fakes import FakeUsage, NoDecisions, NoFinetunes, a_health, some_losses

ACCOUNT = "0123456789abcdef0123456789abcdef"
SECRET = "cst_secret"
VECTORS, TEXTS = "@cf/demo/vectors", "@cf/demo/texts"
COUNTS = UsageTensors(tokens_in="num_input_tokens", tokens_out="num_output_tokens")


def a_model(name: str, task: str, dialect: str, usage: UsageTensors) -> Model:
    backend = Backend(external=("h:1",), served_as="m", dialect=dialect, usage=usage)  # type: ignore[arg-type]
    return Model(name=name, task=task, backend=backend, permits=Permits(per_instance=64))  # type: ignore[arg-type]


MODELS = (
    a_model(VECTORS, "text-embeddings", "seeds", UsageTensors(tokens_in="num_input_tokens")),
    a_model(TEXTS, "text-generation", "vllm", COUNTS),
)


class HeldChannel:
    """A channel whose calls are answered by the test; a stream stays open until it is read to."""

    def __init__(self) -> None:
        self.unary_calls: list[Promise[bytes]] = []
        self.streams: list[HeldStream] = []

    def unary(
        self, method: Method, message: Sequence[bytes], *, timeout_s: float
    ) -> Promise[bytes]:
        promise: Promise[bytes] = Promise()
        self.unary_calls.append(promise)
        return promise

    def stream(self, method: Method, message: Sequence[bytes], *, timeout_s: float) -> HeldStream:
        self.streams.append(HeldStream())
        return self.streams[-1]

    async def close(self) -> None:
        """Nothing is open."""


class HeldStream:
    """A stream whose messages are given by the test."""

    def __init__(self) -> None:
        self.due = 0.0
        self.sink: Callable[[list[bytes]], Promise[None] | None] | None = None
        self.end: Promise[None] = Promise()

    def forward(self, sink: Callable[[list[bytes]], Promise[None] | None]) -> Promise[None]:
        self.sink = sink
        return self.end

    def cancel(self) -> None:
        """It has ended."""

    def give(self, messages: list[bytes]) -> None:
        assert self.sink
        self.sink(messages)

    def finish(self) -> None:
        """Say that nothing more comes, and let go of the sink, as a stream does."""
        self.sink = None
        self.end.resolve(None)


class HeldTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is room for all."""

    def get_write_buffer_size(self) -> int:
        return 0


class NoSink:
    """Takes events, as the real one does while a request runs: it keeps them, here the last."""

    last: Event | Occurrence

    def __init__(self) -> None:
        self.count = 0

    def emit(self, event: Event | Occurrence) -> None:
        self.count += 1
        self.last = event


def nothing() -> None:
    """Be done."""


class HotPath:
    """Entry and server in one process, with a connection of a client to it."""

    def __init__(self, spans: Spans | None = None, *, trace_share: float = 1.0) -> None:
        """Trace the requests if there are `spans` to take what that gives."""
        self.channel = HeldChannel()
        self.sink = NoSink()
        self.transport = HeldTransport()
        clock, registry, world = SystemClock(), CollectorRegistry(), a_world()
        metrics = ServerMetrics(registry)
        health = a_health(metrics, clock)
        server = InferenceServer(
            me=Server(name="s", colo="ams", address="local:s", boot_epoch=1),
            world=world,
            backends={"triton": TritonBackend(lambda _: self.channel)},
            outcomes=Outcomes(
                colo="ams",
                sink=self.sink,
                metrics=metrics,
                health=health,
                clock=clock,
                traces=Traces(spans, server="s", colo="ams") if spans is not None else None,
            ),
            losses=some_losses(health, metrics, clock),
            clock=clock,
            rng=random.Random(1),
        )
        server.shards.sync()
        self._server = server
        self._entry = entry = build(
            Config(colo="ams", trace_share=trace_share),
            world=world,
            connections={"local:s": server}.__getitem__,
            finetunes=NoFinetunes(),
            usage=FakeUsage(),
            explains=NoDecisions(),
            metrics=EntryMetrics(registry),
            templates=lambda _: "",
            clock=clock,
            spans=spans,
        )
        self._http = HttpServer(
            route=entry.hot.route, other=asyncio.Protocol, refuse=entry.hot.refuse
        )
        self._turns = turns_of(asyncio.get_running_loop())
        self.connection = self._http.connection()
        self.connection.connection_made(self.transport)

    def unary(self) -> bytes:
        """Run one embedding from its bytes to its answer's."""
        self.connection.data_received(UNARY)
        self._turns.begin()  # as a connection does that reads from the model
        self._turns.after(nothing)  # what another call leaves to do: ours is taken down with it
        self.channel.unary_calls.pop().resolve(VECTOR)
        self._turns.end()
        return self.transport.written.pop()

    async def leave(self) -> None:
        """Hang up, and let what that cancels end."""
        self.connection.connection_lost(None)
        await asyncio.sleep(0.01)

    def begin_stream(self) -> HeldStream:
        """Ask for a stream of text."""
        self.connection.data_received(STREAM)
        return self.channel.streams.pop()


def a_world() -> World:
    """A world with two models, served in one colo."""
    world = World()
    places = [
        each
        for model in MODELS
        for each in (
            model,
            Shard(model=model.name, colo="ams", index=0, owner="s", epoch=1),
            ShardLoad(model=model.name, colo="ams", index=0, server="s", permits=64, free=64),
            Instance(id=model.name, model=model.name, colo="ams", address="h:1", state="ready"),
        )
    ]
    who = (Account(id=ACCOUNT), Token(hash=token_hash(SECRET), account=ACCOUNT))
    where = (Colo(name="ams"), Server(name="s", colo="ams", address="local:s"))
    world.apply(Update(version=1, complete=True, puts=(*who, *where, *places)))
    return world


def a_request(model: str, body: bytes) -> bytes:
    return (
        f"POST /client/v4/accounts/{ACCOUNT}/ai/run/{model} HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {SECRET}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def an_answer(*tensors: wire.Tensor) -> kserve.ModelInferResponse:
    message = kserve.ModelInferResponse(model_name="m", model_version="1", id="x" * 26)
    for each in tensors:
        message.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        message.raw_output_contents.append(each.data)
    return message


def a_token(text: str) -> bytes:
    answer = an_answer(
        wire.text("text_output", text),
        wire.text("finish_reason", "None"),
        wire.numbers("num_input_tokens", "UINT32", np.array([7])),
        wire.numbers("num_output_tokens", "UINT32", np.array([1])),
    )
    return kserve.ModelStreamInferResponse(infer_response=answer).SerializeToString()


UNARY = a_request(VECTORS, b'{"text":"Which of these is nearer in meaning to the question?"}')
STREAM = a_request(TEXTS, b'{"prompt":"Tell me a story.","stream":true}')
VECTOR = an_answer(
    wire.numbers("embedding", "FP32", np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 32)),
    wire.numbers("num_input_tokens", "UINT32", np.array([12])),
).SerializeToString()


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions the work calls, in Python and in C: the same on every run."""
    count = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
