"""Triton over gRPC: payloads pass as bytes, only the model's name and an id are appended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from google.protobuf.message import DecodeError

from libs.common import wire
from libs.common.catalog import Model
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelRefused,
    RequestError,
    Unavailable,
)
from libs.common.hops import Channel, Stream
from libs.common.pb import kserve_pb2 as kserve
from libs.common.ports import Send
from libs.common.trace_context import TRACEPARENT, TRACESTATE
from libs.common.varint import varint
from libs.eager import Promise, promised
from libs.lean import Method, RpcError, Status
from services.server.backends.declared import flaw
from services.server.backends.lora import Adapters
from services.server.endpoints import Endpoint
from services.server.errors import EndpointFull, InstanceDead, InstanceLost
from services.server.ports import Answer, Depth

log = logging.getLogger(__name__)

SERVICE = "/inference.GRPCInferenceService/"
# With this, an error in a stream has a status; else it is text without a code.
REAL_STATUS = (("triton_grpc_error", "true"),)
MODEL_INFER: Final = Method(SERVICE + "ModelInfer")
MODEL_STREAM_INFER: Final = Method(SERVICE + "ModelStreamInfer", metadata=REAL_STATUS)
SERVER_READY: Final = Method(SERVICE + "ServerReady")
MODEL_READY: Final = Method(SERVICE + "ModelReady")
MODEL_METADATA: Final = Method(SERVICE + "ModelMetadata")
METADATA_S: Final = 2.0
# Dialects whose models may answer by stream alone; those that do not may be called so, too.
DECOUPLED: Final = frozenset({"vllm", "tensorrt_llm", "tensorrt_llm_api"})
# Longer than calls last: an idle connection costs little, a call that is cut off much.
CLOSE_AFTER_S: Final = 900.0
QUEUE_FULL: Final = ("queue", "Exceeds maximum")
# Triton's words for a model whose process has died, as every call hears that is sent there.
PROCESS_DEAD: Final = ("is not healthy", "obtain the health mutex")
UNREADABLE: Final = "the model's answer cannot be read"
# And for one that is not loaded yet, or not any more: it has not seen the call.
NOT_LOADED: Final = ("Request for unknown model", "is not at ready state")


class Passing:
    """Passes the parts of one stream on, each within the time that the model has for it."""

    __slots__ = ("_call", "_deadline", "_send")

    def __init__(self, call: Stream, send: Send, deadline: Deadline) -> None:
        self._call = call
        self._send = send
        self._deadline = deadline

    def on(self, messages: list[bytes]) -> Promise[None] | None:
        """Pass on what came together; a promise of room where there is none."""
        self._call.due = self._next()
        room = self._send(wire.stream_parts(messages))
        return None if room is None else promised(self._wait(room))

    async def _wait(self, room: Promise[None]) -> None:
        self._call.due = self._deadline.total  # meanwhile it is not the model who is slow
        await room
        self._call.due = self._next()

    def _next(self) -> float:
        return min(time.monotonic() + self._deadline.idle, self._deadline.total)


class TritonBackend:
    """Implements `services.server.ports.Backend`; keeps one channel per address."""

    def __init__(
        self,
        connect: Callable[[str], Channel],
        *,
        adapter_path: Callable[[str], str] = lambda finetune: "",
        close_after_s: float = CLOSE_AFTER_S,
    ) -> None:
        """`adapter_path` returns where the catalog has a finetune's adapter."""
        self._connect = connect
        self._adapters = Adapters(adapter_path)
        self._close_after_s = close_after_s
        self._channels: dict[str, Channel] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._names: dict[str, tuple[Model, bytes]] = {}

    def __repr__(self) -> str:
        return f"<TritonBackend {', '.join(sorted(self._channels)) or 'unconnected'}>"

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        """Run the request; a decoupled model's one answer comes by stream."""
        if request.adapter:

            def ask(adapted: InferRequest) -> Awaitable[Answer]:
                return self.infer(endpoint, model, adapted, timeout_s=timeout_s)

            return await self._adapters.run(ask, endpoint.address, model, request)
        if model.backend.dialect in DECOUPLED:
            return await self._first_of_stream(endpoint, model, request, timeout_s)
        channel = self._channels.get(endpoint.address) or self._open(endpoint.address)
        message = self._message(model, request)
        try:
            method = _traced(MODEL_INFER, request) if request.traceparent else MODEL_INFER
            return Answer(await channel.unary(method, message, timeout_s=timeout_s))
        except RpcError as error:
            raise _meaning(error) from error

    async def stream(
        self,
        endpoint: Endpoint,
        model: Model,
        request: InferRequest,
        send: Send,
        *,
        deadline: Deadline,
    ) -> None:
        """Run the request and hand its parts to `send`; leaving cancels it in Triton."""
        if request.adapter:

            def ask(adapted: InferRequest) -> Awaitable[None]:
                return self.stream(endpoint, model, adapted, send, deadline=deadline)

            return await self._adapters.run(ask, endpoint.address, model, request)
        call = self._call(endpoint, model, request, deadline)
        try:
            await call.forward(Passing(call, send, deadline).on)
        except RpcError as error:
            raise _meaning(error) from error
        except wire.StreamError as told:
            raise _failure(str(told)) from told
        except DecodeError as error:
            raise ModelFailed(UNREADABLE, sent=True) from error
        finally:
            call.cancel()

    async def probe(
        self, endpoint: Endpoint, model: Model, depth: Depth, *, timeout_s: float
    ) -> bool | None:
        """Ask Triton, or its model; never raises for a no."""
        if depth == "inference":
            return await self._try_inference(endpoint, model, timeout_s)
        channel = self._channels.get(endpoint.address) or self._open(endpoint.address)
        asked = kserve.ModelReadyRequest(name=model.served_as).SerializeToString()
        try:
            if depth == "server":
                # That it answers is what counts: one broken model makes a Triton "not ready".
                await channel.unary(SERVER_READY, (b"",), timeout_s=timeout_s)
                return True
            answer = await channel.unary(MODEL_READY, (asked,), timeout_s=timeout_s)
            return kserve.ModelReadyResponse.FromString(answer).ready
        except (RpcError, DecodeError):  # nobody answers, or nobody who is a Triton
            return False

    async def _try_inference(
        self, endpoint: Endpoint, model: Model, timeout_s: float
    ) -> bool | None:
        """Let the model answer, which it alone can: Triton calls one ready whose process died."""
        inputs = model.backend.probe.inputs
        if not inputs:
            return None
        tensors = [wire.from_values(e.name, e.datatype, e.values, e.shape) for e in inputs]
        request = InferRequest(
            request_id="probe",
            account="",
            model=model.name,
            payload=wire.tensors_to_payload(tensors),
        )
        due = time.monotonic() + timeout_s
        try:
            if model.backend.dialect in DECOUPLED:  # to its end: it is not to be cancelled
                bounds = Deadline(first_part=due, idle=timeout_s, total=due)
                parts: list[bytes] = []
                await self.stream(endpoint, model, request, parts.extend, deadline=bounds)
                return bool(parts)
            else:
                await self.infer(endpoint, model, request, timeout_s=timeout_s)
        except (ModelRefused, EndpointFull) as error:  # its inputs do not fit, or it is too full
            log.warning("%s: a probe shows nothing: %s", model.name, error)
            return None
        except RequestError:
            return False
        return True

    async def flaw(self, endpoint: Endpoint, model: Model) -> str | None:
        """Compare the tensors that the model declares with those of its dialect."""
        asked = kserve.ModelMetadataRequest(name=model.served_as).SerializeToString()
        channel = self._channels.get(endpoint.address) or self._open(endpoint.address)
        try:
            answer = await channel.unary(MODEL_METADATA, (asked,), timeout_s=METADATA_S)
            return flaw(model, kserve.ModelMetadataResponse.FromString(answer))
        except RpcError:
            return None
        except DecodeError:
            return "what answers there is no Triton: see the instance's address"

    def keep(self, addresses: AbstractSet[str]) -> None:
        """Close the channels to all other addresses, once calls there have had time to end."""
        for address in addresses & self._leaving.keys():
            self._leaving.pop(address).cancel()
        for address in self._channels.keys() - addresses - self._leaving.keys():
            loop = asyncio.get_running_loop()
            self._leaving[address] = loop.call_later(self._close_after_s, self._leave, address)

    async def close(self) -> None:
        """Close every channel."""
        while self._leaving:
            self._leaving.popitem()[1].cancel()
        while self._channels:
            await self._channels.popitem()[1].close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _first_of_stream(
        self, endpoint: Endpoint, model: Model, request: InferRequest, timeout_s: float
    ) -> Answer:
        due = time.monotonic() + timeout_s
        deadline = Deadline(first_part=due, idle=timeout_s, total=due)
        call = self._call(endpoint, model, request, deadline)
        first: list[bytes] = []

        def keep(messages: list[bytes]) -> None:
            if not first:
                first.append(messages[0])

        try:
            await call.forward(keep)  # to its end: Triton leaks what is cancelled just before
        except RpcError as error:
            if not first:  # else the answer is there, however its stream ended
                raise _meaning(error) from error
        finally:
            call.cancel()
        if not first:
            raise ModelFailed("the model's stream ended without an answer", sent=True)
        try:
            (answer,) = wire.stream_parts(first)
        except wire.StreamError as told:
            raise _failure(str(told)) from told
        except DecodeError as error:
            raise ModelFailed(UNREADABLE, sent=True) from error
        return Answer(answer)

    def _call(
        self, endpoint: Endpoint, model: Model, request: InferRequest, deadline: Deadline
    ) -> Stream:
        now = time.monotonic()
        if deadline.until_first(now) <= 0:
            raise DeadlineExceeded("the call's time is used up")
        channel = self._channels.get(endpoint.address) or self._open(endpoint.address)
        message = self._message(model, request)
        method = MODEL_STREAM_INFER
        if request.traceparent:
            method = _traced(method, request)
        call = channel.stream(method, message, timeout_s=deadline.total - now)
        call.due = min(deadline.first_part, deadline.total)
        return call

    def _open(self, address: str) -> Channel:
        self._channels[address] = channel = self._connect(address)
        return channel

    def _leave(self, address: str) -> None:
        del self._leaving[address]
        closing = asyncio.create_task(self._channels.pop(address).close(), name=f"left {address}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _message(self, model: Model, request: InferRequest) -> Sequence[bytes]:
        """Return the chunks of a ModelInferRequest: the payload, and what only we know."""
        known = self._names.get(model.name)
        if known is None or known[0] is not model:
            named = wire.model_name(model.served_as) + wire.REQUEST_ID
            known = self._names[model.name] = (model, named)
        number = request.request_id.encode()
        ours = known[1] + varint(len(number)) + number
        return request.payload, ours


def _traced(method: Method, request: InferRequest) -> Method:
    """Return the method as a traced call has it: a Triton that traces, too, goes on from there."""
    fields = [(TRACEPARENT, request.traceparent)]
    if request.tracestate:
        fields.append((TRACESTATE, request.tracestate))
    try:
        return method.beside(*fields)
    except ValueError:  # it is no text that a header can hold: then nobody is to see it
        return method


def _meaning(error: RpcError) -> RequestError:
    """Return what a status of Triton's means to us."""
    text = (error.message or error.status.name).strip()
    match error.status:
        case Status.INVALID_ARGUMENT:
            return ModelRefused(text, sent=True)
        case Status.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the model did not answer in time", sent=True)
        case Status.UNAVAILABLE if any(word in text for word in QUEUE_FULL):
            return EndpointFull("the model's own queue is full")  # the model has not seen it
        case Status.UNAVAILABLE if not any(words in text for words in NOT_LOADED):
            lost = InstanceLost if error.sent else Unavailable
            return lost(f"the instance was lost: {text}", sent=error.sent)
        case Status.NOT_FOUND:
            return Unavailable(f"the instance has no such model: {text}")
        case Status.CANCELLED:
            return Unavailable("the instance ended the call", sent=True)
    return _failure(text)


def _failure(text: str) -> RequestError:
    """Return what Triton's text alone means to us."""
    if any(words in text for words in NOT_LOADED):
        return Unavailable(f"the instance has no such model: {text}")
    if any(words in text for words in PROCESS_DEAD):
        return InstanceDead(f"the instance is dead: {text}", sent=True)
    return ModelFailed(f"the model failed: {text}", sent=True)
