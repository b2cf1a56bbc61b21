"""Triton over gRPC: payloads pass as bytes, only the model's name and an id are appended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, NoReturn

import grpc

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import InferRequest
from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelRefused,
    OutOfCapacity,
    Unavailable,
)
from libs.common.pb import kserve_pb2 as kserve
from libs.common.rpc import channel, was_sent
from services.server.backends.lora import tensors_for
from services.server.endpoints import Endpoint
from services.server.ports import Answer

SERVICE = "/inference.GRPCInferenceService/"
DECOUPLED = frozenset({"vllm", "tensorrt_llm_api"})  # dialects whose models answer by stream alone
REAL_STATUS = (("triton_grpc_error", "true"),)  # else an error in a stream is text without a code
PROBE_S = 1.0
QUEUE_FULL = ("queue", "Exceeds maximum")


class TritonBackend:
    """Implements `services.server.ports.Backend`; keeps one channel per address."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    def __repr__(self) -> str:
        return f"<TritonBackend {', '.join(sorted(self._channels)) or 'unconnected'}>"

    async def infer(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> Answer:
        """Run the request; a decoupled model's one answer comes by stream."""
        if model.backend.dialect in DECOUPLED:
            return await self._first_of_stream(endpoint, model, request, timeout_s)
        call: Any = self._channel(endpoint).unary_unary(SERVICE + "ModelInfer")
        try:
            return Answer(await call(_message(model, request), timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            _raise(error)
        except asyncio.CancelledError:
            _raise_unless_ours()

    async def stream(
        self, endpoint: Endpoint, model: Model, request: InferRequest, *, timeout_s: float
    ) -> AsyncGenerator[bytes, None]:
        """Run the request and yield its parts; leaving cancels it in Triton."""
        method: Any = self._channel(endpoint).stream_stream(SERVICE + "ModelStreamInfer")
        call = method(timeout=timeout_s, metadata=REAL_STATUS)
        try:
            await call.write(_message(model, request))
            await call.done_writing()
            while (message := await call.read()) is not grpc.aio.EOF:
                yield wire.stream_part(message)
            if await call.code() is not grpc.StatusCode.OK:
                raise await _failure(call)
        except grpc.aio.AioRpcError as error:
            _raise(error)
        except asyncio.InvalidStateError:  # the call ended before we had written
            _raise(await _failure(call))
        except asyncio.CancelledError:
            _raise_unless_ours()
        finally:
            call.cancel()

    async def probe(self, endpoint: Endpoint, model: Model) -> bool:
        """Whether the model is loaded there."""
        call: Any = self._channel(endpoint).unary_unary(
            SERVICE + "ModelReady",
            request_serializer=kserve.ModelReadyRequest.SerializeToString,
            response_deserializer=kserve.ModelReadyResponse.FromString,
        )
        with suppress(grpc.aio.AioRpcError):
            answer = await call(kserve.ModelReadyRequest(name=model.served_as), timeout=PROBE_S)
            return bool(answer.ready)
        return False

    async def close(self) -> None:
        """Close every channel."""
        while self._channels:
            await self._channels.popitem()[1].close()

    async def _first_of_stream(
        self, endpoint: Endpoint, model: Model, request: InferRequest, timeout_s: float
    ) -> Answer:
        parts = self.stream(endpoint, model, request, timeout_s=timeout_s)
        try:
            async for payload in parts:
                return Answer(payload)
        finally:
            await parts.aclose()
        raise ModelFailed("the model's stream ended without an answer", sent=True)

    def _channel(self, endpoint: Endpoint) -> grpc.aio.Channel:
        found = self._channels.get(endpoint.address)
        if found is None:
            found = self._channels[endpoint.address] = channel(endpoint.address)
        return found


def _message(model: Model, request: InferRequest) -> bytes:
    added = tensors_for(model, request)
    payload = request.payload + wire.tensors_to_payload(added) if added else request.payload
    return wire.addressed(payload, served_as=model.served_as, request_id=request.request_id)


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=await call.details(),
    )


def _raise(error: grpc.aio.AioRpcError) -> NoReturn:
    """Raise what a status of Triton's means to us."""
    text = (error.details() or error.code().name).strip()
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT:
            raise ModelRefused(text, sent=True) from error
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            raise DeadlineExceeded("the model did not answer in time", sent=True) from error
        case grpc.StatusCode.UNAVAILABLE if any(word in text for word in QUEUE_FULL):
            raise OutOfCapacity("the model's own queue is full", sent=True) from error
        case grpc.StatusCode.UNAVAILABLE:
            raise Unavailable(f"the instance was lost: {text}", sent=was_sent(text)) from error
        case grpc.StatusCode.NOT_FOUND:
            raise Unavailable(f"the instance has no such model: {text}") from error
        case grpc.StatusCode.CANCELLED:
            raise Unavailable("the instance ended the call", sent=True) from error
    if "is not healthy" in text:  # Triton's words for a model whose process has died
        raise Unavailable(f"the instance is dead: {text}", sent=True) from error
    raise ModelFailed(f"the model failed: {text}", sent=True) from error


def _raise_unless_ours() -> NoReturn:
    """Pass a cancellation on; grpc.aio raises one, too, when a call ends in the wrong moment."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise asyncio.CancelledError
    raise Unavailable("the instance ended the call", sent=True) from None
