"""The gRPC front of finetunes: messages in, messages out, nothing decided here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final, Protocol

from libs.common.errors import BadInput, RequestError, Unavailable
from libs.common.finetunes import NewFinetune, UploadHead, Written
from libs.common.messages import resource_to_pb
from libs.common.pb import control_pb2
from libs.common.pb import finetunes_pb2 as pb
from libs.common.pb.finetunes_pb2_grpc import FinetuneServiceServicer
from libs.common.rpc import Context, statuses
from libs.common.world_map import Resource
from services.control.finetunes import Finetunes

STOP_S: Final = 5.0  # for a sender to hear that it is refused


class Requests(Protocol):
    """What grpc hands to a method that takes a stream."""

    def __aiter__(self) -> AsyncIterator[pb.UploadAssetRequest]:
        """Iterate over the messages."""
        ...


class FinetuneServicer(FinetuneServiceServicer):
    """Adapts `Finetunes` to the generated service."""

    def __init__(self, finetunes: Finetunes) -> None:
        self._finetunes = finetunes

    async def CreateFinetune(
        self, request: pb.CreateFinetuneRequest, context: Context
    ) -> pb.CreateFinetuneResponse:
        """Make a finetune without files."""
        async with statuses(context):
            new = NewFinetune(
                account=request.account,
                name=request.name,
                model=request.model,
                description=request.description,
                public=request.public,
            )
            made, version = await self._finetunes.create(new)
            return pb.CreateFinetuneResponse(finetune=_message(made), version=version)

    async def UploadAsset(
        self, request_iterator: Requests, context: Context
    ) -> AsyncIterator[pb.UploadAssetResponse]:
        """Take one of a finetune's files."""
        async with statuses(context):
            requests = aiter(request_iterator)
            try:
                made, version = await self._upload(requests)
            except RequestError as error:
                refusal = error
            else:
                yield pb.UploadAssetResponse(finetune=_message(made), version=version)
                return
            # a status that meets what is still sent may be lost on its way to the sender
            yield pb.UploadAssetResponse(refused=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    async for _ in requests:
                        pass
            raise refusal

    async def _upload(self, requests: AsyncIterator[pb.UploadAssetRequest]) -> Written:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("value") != "head":
            raise BadInput("an upload begins with its head")
        head = UploadHead(
            account=first.head.account, finetune=first.head.finetune, file=first.head.file
        )
        async with aclosing(_chunks(requests)) as chunks:
            return await self._finetunes.upload(head, chunks)

    async def DeleteFinetune(
        self, request: pb.DeleteFinetuneRequest, context: Context
    ) -> pb.DeleteFinetuneResponse:
        """Remove a finetune with its files."""
        async with statuses(context):
            gone, version = await self._finetunes.delete(request.account, request.finetune)
            return pb.DeleteFinetuneResponse(finetune=_message(gone), version=version)

    async def FetchAsset(
        self, request: pb.FetchAssetRequest, context: Context
    ) -> AsyncIterator[pb.FetchAssetResponse]:
        """Hand out a file."""
        async with statuses(context), aclosing(self._finetunes.fetch(request.sha256)) as pieces:
            async for piece in pieces:
                yield pb.FetchAssetResponse(chunk=piece)


async def _chunks(requests: AsyncIterator[pb.UploadAssetRequest]) -> AsyncGenerator[bytes, None]:
    """Yield the file; a stream that ends without saying so was cut."""
    async for request in requests:
        if request.WhichOneof("value") == "end":
            return
        yield request.chunk
    raise Unavailable("the upload was cut short")


def _message(finetune: Resource) -> control_pb2.Finetune:
    return resource_to_pb(finetune).finetune
