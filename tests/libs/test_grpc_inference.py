"""The client of a server in another process, when it is let go of with calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.common.clients.inference import GrpcInference
from libs.common.errors import Unavailable
from libs.common.pb import inference_pb2 as pb
from libs.common.pb.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from libs.common.rpc import Context, grpc_server
from tests.fakes import a_request


class Hanging(InferenceServiceServicer):
    """Never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def Infer(self, request: pb.InferRequest, context: Context) -> pb.InferResponse:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    async def StreamInfer(
        self, request: pb.StreamInferRequest, context: Context
    ) -> AsyncIterator[pb.StreamInferResponse]:
        self.asked.set()
        await asyncio.Event().wait()
        yield pb.StreamInferResponse()


@asynccontextmanager
async def asked(kind: str) -> AsyncIterator[tuple[GrpcInference, asyncio.Task[None]]]:
    """A client, and a call of it that is in flight."""
    servicer = Hanging()
    async with grpc_server(
        "127.0.0.1:0",
        add=lambda server: add_InferenceServiceServicer_to_server(servicer, server),
        drain_s=0.1,
    ) as (address,):
        client = GrpcInference(address)

        async def call() -> None:
            if kind == "unary":
                await client.infer(a_request())
            else:
                async for _ in client.stream(a_request(stream=True)):
                    pass

        task = asyncio.create_task(call())
        await asyncio.wait_for(servicer.asked.wait(), 5)
        try:
            yield client, task
        finally:
            await client.close()


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_in_flight_ends_as_unavailable_when_its_client_is_closed(kind: str) -> None:
    async with asked(kind) as (client, call):
        await client.close()

        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(call, 5)

    assert caught.value.sent


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_a_call_that_its_caller_cancels_ends_as_cancelled(kind: str) -> None:
    async with asked(kind) as (_, call):
        call.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(call, 5)
