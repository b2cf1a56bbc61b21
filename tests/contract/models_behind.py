"""Models that speak the backends' own languages, over real connections, and do as they are told.

What a model does stands in its prompt; both kinds know the same words.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from libs.common import wire
from libs.common.catalog import Backend as BackendConfig
from libs.common.catalog import Model
from libs.common.envelope import InferRequest
from libs.common.hops import ServerCall, connect, listening
from libs.common.pb import kserve_pb2 as kserve
from libs.eager import EagerTask, start
from libs.lean import Status
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend
from services.server.backends.triton import SERVICE, TritonBackend
from services.server.ports import Backend
from tests.fakes import a_model, a_request

PARTS = ("one ", "two ", "three")
MODEL = "the/model"


class Stage(ABC):
    """One kind of backend, and a model behind it."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.left = asyncio.Event()  # the model was told that nobody waits any more
        self.ended = asyncio.Event()  # a stream had all its parts, and its end
        self.is_well = True
        self.peers: set[str] = set()  # connections that there were

    @abstractmethod
    def serving(self, address: str) -> Any:
        """Serve the model while inside, and yield where."""

    @abstractmethod
    def backend(self) -> Backend:
        """Return the backend that speaks to it."""

    @abstractmethod
    def request(self, what: str, *, stream: bool = False, adapter: str = "") -> InferRequest:
        """Return a request that tells the model what to do."""

    @abstractmethod
    def text_of(self, payload: bytes) -> str:
        """Read an answer, or a part."""

    @abstractmethod
    def model(self) -> Model:
        """Return the catalog's entry."""

    async def hang(self) -> None:
        self.began.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.left.set()


class TritonStage(Stage):
    """A model in a Triton, as far as a backend sees one."""

    @asynccontextmanager
    async def serving(self, address: str) -> AsyncIterator[str]:
        handlers: dict[str, Callable[[ServerCall, bytes], None]] = {
            f"{SERVICE}ModelInfer": lambda call, raw: _run(call, self._infer(call, raw)),
            f"{SERVICE}ModelStreamInfer": lambda call, raw: _run(call, self._stream(call, raw)),
            f"{SERVICE}ModelReady": self._ready,
            f"{SERVICE}ServerReady": self._ready,
        }
        async with listening(address, handlers, drain_s=0) as bound:
            yield bound

    def backend(self) -> Backend:
        return TritonBackend(connect)

    def request(self, what: str, *, stream: bool = False, adapter: str = "") -> InferRequest:
        payload = wire.tensors_to_payload([wire.text("text_input", what)])
        return a_request(payload=payload, stream=stream, adapter=adapter, finetune=adapter)

    def text_of(self, payload: bytes) -> str:
        return wire.payload_to_tensors(payload)["text_output"].texts()[0].decode()

    def model(self) -> Model:
        return a_model(backend=BackendConfig(served_as="m"))

    def _ready(self, call: ServerCall, raw: bytes) -> None:
        call.finish([kserve.ModelReadyResponse(ready=self.is_well).SerializeToString()])

    async def _infer(self, call: ServerCall, raw: bytes) -> None:
        what, adapter = told(raw)
        match what:
            case "hang":
                await self.hang()
            case "refuse":
                call.fail(Status.INVALID_ARGUMENT, "too long")
            case "fail":
                call.fail(Status.INTERNAL, "out of memory")
            case "full":
                call.fail(Status.UNAVAILABLE, "Exceeds maximum queue size")
            case _:
                call.finish([said(adapter or what).SerializeToString()])

    async def _stream(self, call: ServerCall, raw: bytes) -> None:
        what, _ = told(raw)
        texts = PARTS[:1] if what in ("break", "fail", "hang") else PARTS
        for each in texts:
            message = kserve.ModelStreamInferResponse(infer_response=said(each))
            call.send([message.SerializeToString()])
            await asyncio.sleep(0.01)
        match what:
            case "hang":
                await self.hang()
            case "break":
                call.fail(Status.UNAVAILABLE, "Socket closed")
            case "fail":
                call.fail(Status.INTERNAL, "out of memory")
            case _:
                call.end()
                self.ended.set()


def _run(call: ServerCall, work: Coroutine[Any, Any, None]) -> None:
    def ended(task: EagerTask[None]) -> None:
        task.exception()

    task = start(work, ended)
    call.on_cancel = task.cancel


def told(raw: bytes) -> tuple[str, str]:
    request = kserve.ModelInferRequest.FromString(raw)
    names = (each.name for each in request.inputs)
    texts = {
        name: raw[4:].decode() for name, raw in zip(names, request.raw_input_contents, strict=True)
    }
    return texts["text_input"], texts.get("lora_name", "")


def said(text: str) -> kserve.ModelInferResponse:
    tensor = wire.text("text_output", text)
    message = kserve.ModelInferResponse(model_name="m")
    message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    message.raw_output_contents.append(tensor.data)
    return message


class OpenAiStage(Stage):
    """A model behind OpenAI's API, written as vLLM writes it."""

    @asynccontextmanager
    async def serving(self, address: str) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/health", self._health)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        host, _, port = address.rpartition(":")
        site = web.TCPSite(runner, host, int(port), reuse_address=True)
        await site.start()
        try:
            yield "{}:{}".format(*runner.addresses[0][:2])
        finally:
            await runner.cleanup()

    def backend(self) -> Backend:
        return OpenAiBackend(keys=Keys(None))

    def request(self, what: str, *, stream: bool = False, adapter: str = "") -> InferRequest:
        messages = [{"role": "user", "content": what}]
        body = {"model": adapter or MODEL, "messages": messages, "stream": stream}
        request = a_request(payload=orjson.dumps(body), stream=stream, adapter=adapter)
        request.task = "text-generation"
        return request

    def text_of(self, payload: bytes) -> str:
        choice = orjson.loads(payload)["choices"][0]
        return str((choice.get("delta") or choice["message"])["content"])

    def model(self) -> Model:
        return a_model(backend=BackendConfig(kind="openai_http", dialect="vllm", served_as=MODEL))

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.is_well else 503)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.peers.add(str(request.transport.get_extra_info("peername")))  # type: ignore[union-attr]
        body = orjson.loads(await request.read())
        what = body["messages"][0]["content"]
        if body["stream"]:
            return await self._stream(request, what)
        match what:
            case "hang":
                await self.hang()
            case "refuse":
                return an_error(400, "too long")
            case "fail":
                return an_error(500, "out of memory")
            case "full":
                return an_error(429, "slow down")
        if body["model"] != MODEL:
            what = body["model"]
        return web.json_response({"choices": [{"message": {"content": what}}]})

    async def _stream(self, request: web.Request, what: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        texts = PARTS[:1] if what in ("break", "fail", "hang") else PARTS
        for each in texts:
            part = {"choices": [{"delta": {"content": each}}]}
            await response.write(b"data: " + orjson.dumps(part) + b"\n\n")
            await asyncio.sleep(0.01)
        match what:
            case "hang":
                await self.hang()
            case "break":
                assert request.transport is not None
                request.transport.abort()
            case "fail":
                error = {"error": {"message": "out of memory", "code": 500}}
                await response.write(b"data: " + orjson.dumps(error) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def an_error(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "x", "code": status}}
    return web.json_response(body, status=status)
