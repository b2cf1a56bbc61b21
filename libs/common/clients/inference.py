"""A server in another process, over grpcio; implements `libs.common.ports.Inference`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NoReturn

import grpc

from libs.common.envelope import InferReply, InferRequest, Part
from libs.common.envelopes import part_from_pb, reply_from_pb, request_to_pb
from libs.common.errors import Unavailable
from libs.common.pb.inference_pb2_grpc import InferenceServiceStub
from libs.common.rpc import channel, request_error, was_sent


class GrpcInference:
    """One server's InferenceService; one channel, shared by all calls."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = channel(address)
        self._stub = InferenceServiceStub(self._channel)

    def __repr__(self) -> str:
        return f"<GrpcInference {self.address}>"

    async def infer(self, request: InferRequest) -> InferReply:
        """Run the request and return its one answer."""
        try:
            message = await self._stub.Infer(request_to_pb(request), timeout=_timeout(request))
        except grpc.aio.AioRpcError as error:
            _raise(error)
        except asyncio.CancelledError:
            _raise_unless_ours()
        return reply_from_pb(message)

    async def stream(self, request: InferRequest) -> AsyncGenerator[Part, None]:
        """Run the request and yield its parts; closing it cancels the call."""
        call = self._stub.StreamInfer(request_to_pb(request), timeout=_timeout(request))
        try:
            async for message in call:
                yield part_from_pb(message)
        except grpc.aio.AioRpcError as error:
            _raise(error)
        except asyncio.CancelledError:
            _raise_unless_ours()
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the channel; calls in flight end as Unavailable."""
        await self._channel.close()


def _timeout(request: InferRequest) -> float | None:
    """The call's own bound, a little later than the server's, whose error says more."""
    total = request.time_bounds.total_ms
    bound = total if request.stream else min(total, request.time_bounds.first_part_ms) or total
    return bound / 1000 + 0.5 if bound else None


def _raise(error: grpc.aio.AioRpcError) -> NoReturn:
    """Raise what the server raised; a lost server may have sent the request on."""
    raised = request_error(error)
    if isinstance(raised, Unavailable) and "reason" not in dict(error.trailing_metadata() or ()):
        raise Unavailable(f"the server was lost: {raised}", sent=was_sent(str(raised))) from error
    raise raised from error


def _raise_unless_ours() -> NoReturn:
    """Pass a cancellation on; grpc.aio raises one, too, when the channel is closed."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise asyncio.CancelledError
    raise Unavailable("the server was let go of", sent=True) from None
