"""Loading and unloading models of a running Triton, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc.aio

from libs.common.pb import kserve_pb2 as kserve
from libs.common.pb.kserve_pb2_grpc import GRPCInferenceServiceStub

CALL_SECONDS = 5.0  # for what takes milliseconds
UNLOAD_POLL_S = 0.05
GONE = ("", "UNAVAILABLE")  # states of a model that is not known, or not loaded


class ControlFailed(Exception):
    """Triton refused, or did not answer in time; tells what it said."""


class ModelControl:
    """Triton's explicit model control."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._triton = GRPCInferenceServiceStub(channel)

    async def load(self, name: str, *, timeout: float) -> None:
        """Load the model, and return when it is ready."""
        request = kserve.RepositoryModelLoadRequest(model_name=name)
        with translated_errors():
            await self._triton.RepositoryModelLoad(request, timeout=timeout)

    async def unload(self, name: str, *, timeout: float) -> bool:
        """Unload the model; False if it still has requests at the end of that time."""
        request = kserve.RepositoryModelUnloadRequest(model_name=name)
        with translated_errors():
            await self._triton.RepositoryModelUnload(request, timeout=CALL_SECONDS)
        try:
            async with asyncio.timeout(timeout):
                while await self._state(name) not in GONE:  # noqa: ASYNC110 - it is not told
                    await asyncio.sleep(UNLOAD_POLL_S)
        except TimeoutError:
            return False
        return True

    async def is_ready(self, name: str) -> bool:
        """Whether the model is loaded."""
        return await self._state(name) == "READY"

    async def _state(self, name: str) -> str:
        request = kserve.RepositoryIndexRequest()
        with translated_errors():
            index = await self._triton.RepositoryIndex(request, timeout=CALL_SECONDS)
        return next((model.state for model in index.models if model.name == name), "")


@asynccontextmanager
async def model_control(address: str) -> AsyncIterator[ModelControl]:
    """The control of the Triton there, with a connection for the few calls of one change."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield ModelControl(channel)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn gRPC's errors into ours."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise ControlFailed(f"{error.code().name}: {error.details()}") from error
