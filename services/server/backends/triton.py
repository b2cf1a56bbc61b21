"""Triton over gRPC: payloads pass as bytes, only the model's name and an id are appended."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

from libs.common import wire
from libs.common.catalog import Model
from libs.common.deadline import Deadline
from libs.common.envelope import InferRequest
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelRefused,
    OutOfCapacity,
    RequestError,
    Unavailable,
)
from libs.common.hops import Channel
from libs.common.pb import kserve_pb2 as kserve
from libs.lean import Method, RpcError, Status
from services.server.backends.lora import tensors_for
from services.server.endpoints import Endpoint
from services.server.ports import Answer

SERVICE = "/inference.GRPCInferenceService/"
# With this, an error in a stream has a status; else it is text without a code.
REAL_STATUS = (("triton_grpc_error", "true"),)
MODEL_INFER = Method(SERVICE + "ModelInfer")
MODEL_STREAM_INFER = Method(SERVICE + "ModelStreamInfer", metadata=REAL_STATUS)
MODEL_READY = Method(SERVICE + "ModelReady")
DECOUPLED = frozenset({"vllm", "tensorrt_llm_api"})  # dialects whose models answer by stream alone
PROBE_S = 1.0
QUEUE_FULL = ("queue", "Exceeds maximum")


class TritonBackend:
    """Implements `services.server.ports.Backend`; keeps one channel per address."""

    def __init__(self, connect: Callable[[str], Channel]) -> None:
        self._connect = connect
        self._channels: dict[str, Channel] = {}

    def __repr__(self) -> str:
        return f"<TritonBackend {', '.join(sorted(self._channels)) or 'unconnected'}>"

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        """Run the request; a decoupled model's one answer comes by stream."""
        if model.backend.dialect in DECOUPLED:
            return await self._first_of_stream(endpoint, model, request, timeout_s)
        message = _message(model, request)
        call = self._channel(endpoint).unary(MODEL_INFER, message, timeout_s=timeout_s)
        try:
            return Answer(await call)
        except RpcError as error:
            raise _meaning(error) from error

    async def stream(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, deadline: Deadline
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Run the request and yield its parts; leaving cancels it in Triton."""
        now = time.monotonic()
        if deadline.until_first(now) <= 0:
            raise DeadlineExceeded("the call's time is used up")
        call = self._channel(endpoint).stream(
            MODEL_STREAM_INFER, _message(model, request), timeout_s=deadline.total - now
        )
        call.due = min(deadline.first_part, deadline.total)
        try:
            while messages := await call.read():
                yield wire.stream_parts(messages)
                call.due = min(time.monotonic() + deadline.idle, deadline.total)
        except RpcError as error:
            raise _meaning(error) from error
        finally:
            call.cancel()

    async def probe(self, endpoint: Endpoint, model: Model) -> bool:
        """Whether the model is loaded there."""
        asked = kserve.ModelReadyRequest(name=model.served_as).SerializeToString()
        with suppress(RpcError):
            answer = await self._channel(endpoint).unary(MODEL_READY, (asked,), timeout_s=PROBE_S)
            return kserve.ModelReadyResponse.FromString(answer).ready
        return False

    async def close(self) -> None:
        """Close every channel."""
        while self._channels:
            await self._channels.popitem()[1].close()

    async def _first_of_stream(
        self, endpoint: Endpoint, model: Model, request: InferRequest, timeout_s: float
    ) -> Answer:
        due = time.monotonic() + timeout_s
        deadline = Deadline(first_part=due, idle=timeout_s, total=due)
        parts = self.stream(endpoint, model, request, deadline=deadline)
        try:
            async for payloads in parts:
                return Answer(payloads[0])
        finally:
            await parts.aclose()
        raise ModelFailed("the model's stream ended without an answer", sent=True)

    def _channel(self, endpoint: Endpoint) -> Channel:
        found = self._channels.get(endpoint.address)
        if found is None:
            found = self._channels[endpoint.address] = self._connect(endpoint.address)
        return found


def _message(model: Model, request: InferRequest) -> Sequence[bytes]:
    """Return the chunks of a ModelInferRequest: the payload, and what only we know."""
    name, number = wire.model_name(model.served_as), wire.request_id(request.request_id)
    if request.adapter and (added := tensors_for(model, request)):
        return request.payload, wire.tensors_to_payload(added), name, number
    return request.payload, name, number


def _meaning(error: RpcError) -> RequestError:
    """Return what a status of Triton's means to us."""
    text = (error.message or error.status.name).strip()
    match error.status:
        case Status.INVALID_ARGUMENT:
            return ModelRefused(text, sent=True)
        case Status.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the model did not answer in time", sent=True)
        case Status.UNAVAILABLE if any(word in text for word in QUEUE_FULL):
            return OutOfCapacity("the model's own queue is full", sent=True)
        case Status.UNAVAILABLE:
            return Unavailable(f"the instance was lost: {text}", sent=error.sent)
        case Status.NOT_FOUND:
            return Unavailable(f"the instance has no such model: {text}")
        case Status.CANCELLED:
            return Unavailable("the instance ended the call", sent=True)
    if "is not healthy" in text:  # Triton's words for a model whose process has died
        return Unavailable(f"the instance is dead: {text}", sent=True)
    return ModelFailed(f"the model failed: {text}", sent=True)
