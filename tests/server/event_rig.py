"""A server on a clock that is turned by hand, and its calls' usual events, worked out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from libs.common import wire
from libs.common.catalog import Backend, Listing, Model, Permits, Price, Scaling, UsageTensors
from libs.common.clients.inference import RemoteInference
from libs.common.clock import ManualClock
from libs.common.envelope import InferRequest, RequestSource, Units
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag, InferenceEvent
from libs.common.hops import connect, listening
from libs.common.ports import Inference
from libs.common.world_map import Colo, Instance, Server, Shard, ShardLoad
from libs.eager import turns_of
from services.server.forwarding import Settings
from services.server.grpc_api import InferenceApi
from services.server.service import InferenceServer
from tests.fakes import MODEL, ScriptedBackend, a_request, a_server, a_world, an_instance, put
from tests.hot_path import an_answer
from tests.waiting import until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PRICE = Price(per_request=1.0, per_token_in=0.25, per_token_out=0.5, per_character_in=0.125)
START = 2.0**30  # later than the loop's time, so that only this clock makes anything late
START_MS = 2**30 * 1000
ECHO = Model(
    name=MODEL,
    task="text-generation",
    backend=Backend(
        repository="models/echo",
        dialect="vllm",
        usage=UsageTensors(tokens_in="num_input_tokens", tokens_out="num_output_tokens"),
    ),
    permits=Permits(per_instance=1, queue=1),
    price=PRICE,
    scaling=Scaling(boot_s=1.0),
    listing=Listing(beta=True),
)


def said(text: str, *, tokens: int) -> bytes:
    return an_answer(
        wire.text("text_output", text),
        wire.numbers("num_input_tokens", "UINT32", np.array([7])),
        wire.numbers("num_output_tokens", "UINT32", np.array([tokens])),
    ).SerializeToString()


ANSWER = said("hello", tokens=3)
PARTS = (said("a", tokens=1), said("b", tokens=1))
STREAM_BYTES = len(PARTS[0]) + len(PARTS[1])

USUAL = InferenceEvent(
    account_id="a" * 32,
    model_id=MODEL,
    task="text-generation",
    request_source=2,
    request_id="r" * 26,
    client_request_id="mine",
    traceparent=TRACE,
    timestamp_ms=START_MS,
    request_time_ms=250.0,
    inference_time_ms=250.0,
    forward_us=250_000,
    first_part_us=250_000,
    neurons=1 + 0.25 * 7 + 0.5 * 3 + 0.125 * 40,
    tokens_in=7,
    tokens_out=3,
    input_characters=40,
    bytes_in=123,
    bytes_out=len(ANSWER),
    http_status=200,
    flags=Flag.BETA_MODEL,
    colo_id="ams",
    source_colo_id="ams",
    model_container_id="ams-node/echo/0",
    endpoint="127.0.0.1:9000",
    chosen_because="only",
    cost=1,
    priority=6,
    shard_epoch=1,  # of the ownership, whatever the call had heard of it
)
STREAMED = replace(
    USUAL,
    flags=Flag.BETA_MODEL | Flag.STREAMED,
    request_time_ms=375.0,  # a quarter of a second to the first part, an eighth to the second
    inference_time_ms=375.0,
    time_to_first_token=250.0,
    forward_us=375_000,
    neurons=1 + 0.25 * 7 + 0.5 * 2 + 0.125 * 40,
    tokens_out=2,
    bytes_out=STREAM_BYTES,
)
# What a call has used that failed, or ended before its model said so: nothing.
UNUSED: dict[str, Any] = {
    "neurons": 0.0,
    "tokens_in": 0,
    "tokens_out": 0,
    "input_characters": 0,
    "bytes_out": 0,
    "first_part_us": 0,
}
# And one that had no endpoint.
NOWHERE: dict[str, Any] = UNUSED | {
    "inference_time_ms": 0.0,
    "forward_us": 0,
    "model_container_id": "",
    "endpoint": "",
    "chosen_because": "",
}


def asked(**changes: object) -> InferRequest:
    usual: dict[str, object] = {
        "request_id": "r" * 26,
        "task": "text-generation",
        "client_request_id": "mine",
        "request_source": RequestSource.PAGES_BINDING,
        "traceparent": TRACE,
        "units": Units(input_characters=40),
        "bytes_in": 123,
        "priority": 6,
    }
    return a_request(**usual | changes)


class Rig:
    """A server whose model answers in a quarter of a second, and another in London."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.backend, self.sink = ScriptedBackend(), MemorySink()
        self.backend.on_infer, self.backend.on_stream = self.answers, self.streams
        self.gate = asyncio.Event()  # what a model that is held waits for
        self.world = a_world(an_instance(0), model=ECHO)
        self.elsewhere: dict[str, Inference] = {}
        self.server = self.a_server("ams", self.backend, self.sink)

    def a_server(
        self, colo: str, backend: ScriptedBackend, sink: MemorySink, max_hops: int = 1
    ) -> InferenceServer:
        return a_server(
            self.world,
            backend,
            sink,
            self.clock,
            name=f"{colo}-server",
            colo=colo,
            connections=lambda address: self.elsewhere[address],
            forwarding=Settings(max_hops=max_hops),
        )

    async def answers(self, *_: object) -> bytes:
        self.clock.advance(0.25)
        return ANSWER

    async def streams(self, *_: object) -> AsyncGenerator[bytes, None]:
        self.clock.advance(0.25)
        yield PARTS[0]
        self.clock.advance(0.125)
        yield PARTS[1]

    async def waits(self, *_: object) -> bytes:
        await self.gate.wait()
        return ANSWER

    async def streams_and_waits(self, *_: object) -> AsyncGenerator[bytes, None]:
        self.clock.advance(0.25)
        yield PARTS[0]
        await self.gate.wait()

    def fails(self, error: Exception) -> Callable[..., Awaitable[bytes]]:
        async def fail(*_: object) -> bytes:
            self.clock.advance(0.25)
            raise error

        return fail

    def infer(self, **changes: object) -> asyncio.Task[Any]:
        return asyncio.create_task(self.server.infer(asked(**changes)))

    def stream(self, **changes: object) -> asyncio.Task[Any]:
        return asyncio.create_task(
            self.server.stream(asked(stream=True, **changes), lambda parts: None)
        )

    async def held(self) -> asyncio.Task[Any]:
        """Take the only permit, without an event of its own that counts, and no time."""
        self.backend.on_infer = self.waits
        call = self.infer(request_id="h" * 26)
        await until(lambda: len(self.backend.calls) == 1)
        return call

    async def release(self, held: asyncio.Task[Any]) -> None:
        self.gate.set()
        await held

    @property
    def events(self) -> list[InferenceEvent]:
        """All but those of calls that only held permits."""
        turns_of(asyncio.get_running_loop()).settle()
        events = [each for each in self.sink.events if isinstance(each, InferenceEvent)]
        return [each for each in events if each.request_id != "h" * 26]

    @asynccontextmanager
    async def london(self, folder: Path) -> AsyncIterator[MemorySink]:
        """A second server of the model, reached over a Unix socket."""
        backend, sink = ScriptedBackend(), MemorySink()
        backend.on_infer, backend.on_stream = self.answers, self.streams
        put(
            self.world,
            Colo(name="ams"),
            Colo(name="lhr"),
            Server(name="ams-server", colo="ams", address="local:ams", boot_epoch=1),
            Server(name="lhr-server", colo="lhr", address="unix:lhr", boot_epoch=1),
            Shard(model=MODEL, colo="lhr", index=0, owner="lhr-server", epoch=9),
            Instance(id="lhr-i", model=MODEL, colo="lhr", address="lhr:1", state="ready"),
            *(
                ShardLoad(model=MODEL, colo=colo, index=0, server="", permits=1, free=free)
                for colo, free in (("ams", 0), ("lhr", 1))
            ),
        )
        async with AsyncExitStack() as stack:
            api = InferenceApi(self.a_server("lhr", backend, sink), over_unix_socket=True)
            address = f"unix:{folder}/lhr"
            await stack.enter_async_context(listening(address, api.handlers(), drain_s=0.1))
            client = RemoteInference(address, connect(address))
            stack.push_async_callback(client.close)
            self.elsewhere["unix:lhr"] = client
            yield sink
