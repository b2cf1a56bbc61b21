"""An entry, servers, backends that tell what reached them, and a collector of spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from libs.common.catalog import Backend, Model, Permits, UsageTensors
from libs.common.clients.inference import RemoteInference
from libs.common.clients.otlp import OtlpExporter
from libs.common.events.sinks import MemorySink
from libs.common.events.values import InferenceEvent
from libs.common.hops import ServerCall, connect, listening
from libs.common.metrics import Counts
from libs.common.ports import Inference
from libs.common.spans import Spans
from libs.common.world_map import Instance
from libs.eager import start, turns_of
from libs.lean import Status
from services.entry.app import Config, serve
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend
from services.server.backends.triton import SERVICE, TritonBackend
from services.server.grpc_api import InferenceApi
from services.server.service import InferenceServer
from tests.collector import Collector
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, VECTORS, entry_of, small_world
from tests.fakes import a_server, put
from tests.hot_path import a_token

RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run/"
ROUTE = "POST /client/v4/accounts/{account}/ai/run/{model}"
TALKS = Model(
    name=TEXT,
    task="text-generation",
    backend=Backend(
        dialect="vllm",
        served_as="talks",
        usage=UsageTensors(tokens_in="num_input_tokens", tokens_out="num_output_tokens"),
    ),
    permits=Permits(per_instance=1, queue=1),
)
EMBEDS = Model(
    name=VECTORS,
    task="text-embeddings",
    backend=Backend(kind="openai_http", dialect="openai_http", served_as="embeds"),
)


class FakeTriton:
    """Says three words, and shows the headers that it was called with."""

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []
        self.gate = asyncio.Event()
        self.fails = False

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        handlers = {f"{SERVICE}ModelStreamInfer": self._take}
        async with listening("127.0.0.1:0", handlers, drain_s=0) as address:
            yield address

    def _take(self, call: ServerCall, message: bytes) -> None:
        self.headers.append(call.metadata)  # type: ignore[attr-defined]
        task = start(self._answer(call, b"wait" in message), lambda ended: ended.exception())
        call.on_cancel = task.cancel

    async def _answer(self, call: ServerCall, waits: bool) -> None:
        if self.fails:
            call.fail(Status.INTERNAL, "out of memory")
            return
        for word in ("one ", "two ", "three"):
            await asyncio.sleep(0.01)
            call.send([a_token(word)])
            if waits:
                await self.gate.wait()
        call.end()


class HttpServer:
    """A server with OpenAI's API that embeds, and keeps the headers of its calls."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._embed)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _embed(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        rows = [{"index": 0, "embedding": [1.0, 2.0]}]
        return web.json_response({"data": rows, "usage": {"prompt_tokens": 4}})


class Site:
    """An entry and a server in Amsterdam, a server in London behind a hop, and their backends."""

    def __init__(self, collector: Collector, stack: AsyncExitStack) -> None:
        self.collector = collector
        self.counts = Counts("spans", "", ("service", "outcome"))
        self.triton, self.far_triton, self.http = FakeTriton(), FakeTriton(), HttpServer()
        self.sink = MemorySink()
        self.url = self.grpc = ""
        self.client: ClientSession
        self._stack = stack

    async def start(
        self, folder: Path, *, share: float, is_traced: bool, collector_at: str = ""
    ) -> None:
        enter = self._stack.enter_async_context
        near, far = await enter(self.triton.serving()), await enter(self.far_triton.serving())
        http = await enter(self.http.serving())
        world = small_world("ams", "lhr")
        put(
            world,
            TALKS,
            EMBEDS,
            Instance(id="near", model=TEXT, colo="ams", address=near, state="ready"),
            Instance(id="far", model=TEXT, colo="lhr", address=far, state="ready"),
            Instance(id="http", model=VECTORS, colo="ams", address=http, state="ready"),
        )

        async def spans(service: str, name: str) -> Spans | None:
            exporter = self._exporter(service, name, collector_at or self.collector.url)
            return await enter(exporter) if is_traced else None

        triton, backend = TritonBackend(connect), OpenAiBackend(keys=Keys(None))
        self._stack.push_async_callback(backend.close)
        self._stack.push_async_callback(triton.close)
        elsewhere: dict[str, Inference] = {}

        async def server(colo: str) -> InferenceServer:
            return a_server(
                world,
                triton,
                self.sink,
                name=f"server-{colo}",
                colo=colo,
                http=backend,
                spans=await spans("server", colo),
                connections=lambda address: elsewhere[address],
            )

        here, there = await server("ams"), await server("lhr")
        address = f"unix:{folder}/lhr"
        await enter(listening(address, InferenceApi(there).handlers(), drain_s=0.1))
        client = RemoteInference(address, connect(address))
        elsewhere |= {"local:server-ams": here, "local:server-lhr": client}
        self._stack.push_async_callback(client.close)
        config = Config(
            colo="ams", http="127.0.0.1:0", grpc="127.0.0.1:0", drain_s=0.2, trace_share=share
        )
        entry = entry_of(
            world, {"ams": here, "lhr": client}, config=config, spans=await spans("entry", "ams")
        )
        bound = await enter(serve(config, entry))
        self.url, self.grpc = f"http://{bound.http}", bound.grpc
        self.client = await enter(ClientSession())

    def _exporter(self, service: str, name: str, collector_at: str) -> OtlpExporter:
        return OtlpExporter(
            f"{collector_at}/v1/traces",
            resource={"service.name": service, "service.instance.id": name},
            version="1",
            counts=self.counts,
            every_s=0.01,
            leave_s=0.1,
        )

    async def run(
        self, body: dict[str, Any], *, model: str = TEXT, secret: str = SECRET, **headers: str
    ) -> tuple[int, str]:
        """Run a model, and return the status and what came."""
        headers = {"Authorization": f"Bearer {secret}", **headers}
        async with self.client.post(self.url + RUN + model, json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    @property
    def event(self) -> InferenceEvent:
        """The last event."""
        turns_of(asyncio.get_running_loop()).settle()
        event = self.sink.events[-1]
        assert isinstance(event, InferenceEvent)
        return event


Sites = Callable[..., Any]
