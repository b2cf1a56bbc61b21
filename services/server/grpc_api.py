"""The server's gRPC front: messages in, messages out, nothing decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from libs.common.envelope import InferRequest
from libs.common.envelopes import part_to_pb, reply_to_pb, request_from_pb
from libs.common.errors import ModelRefused
from libs.common.pb import inference_pb2 as pb
from libs.common.pb.inference_pb2_grpc import InferenceServiceServicer
from libs.common.rpc import Context, statuses
from services.server.service import InferenceServer


class InferenceServicer(InferenceServiceServicer):
    """Adapts the server to the generated service."""

    def __init__(self, server: InferenceServer) -> None:
        self._server = server

    async def Infer(self, request: pb.InferRequest, context: Context) -> pb.InferResponse:
        """Run a model."""
        async with statuses(context):
            return reply_to_pb(await self._server.infer(_read(request)))

    async def StreamInfer(
        self, request: pb.InferRequest, context: Context
    ) -> AsyncIterator[pb.StreamInferResponse]:
        """Run a model, streaming its parts."""
        async with statuses(context), aclosing(self._server.stream(_read(request))) as parts:
            async for part in parts:
                yield part_to_pb(part)

    async def Cancel(self, request: pb.CancelRequest, context: Context) -> pb.CancelResponse:
        """Cancel calls of an account."""
        async with statuses(context):
            cancelled = self._server.cancel(
                account=request.account,
                request_id=request.request_id,
                by_client_id=request.by_client_id,
            )
            return pb.CancelResponse(cancelled=cancelled)


def _read(message: pb.InferRequest) -> InferRequest:
    try:
        return request_from_pb(message)
    except ValueError as error:
        raise ModelRefused(f"broken envelope: {error}") from error
