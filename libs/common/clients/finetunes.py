"""A client of control's finetunes over gRPC; implements `FinetuneWrites` and `AssetSource`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc

from libs.common.catalog import Finetune
from libs.common.clients.away import control_errors
from libs.common.errors import Internal, Unavailable
from libs.common.finetunes import NewFinetune, UploadHead, Written
from libs.common.messages import resource_from_pb
from libs.common.pb import control_pb2
from libs.common.pb import finetunes_pb2 as pb
from libs.common.pb.finetunes_pb2_grpc import FinetuneServiceStub

if TYPE_CHECKING:
    from libs.common.pb.finetunes_pb2_grpc import FinetuneServiceAsyncStub

    UploadCall = grpc.aio.StreamStreamCall[pb.UploadAssetRequest, pb.UploadAssetResponse]

Metadata: TypeAlias = tuple[tuple[str, str], ...]
TRANSFER_S: Final = 3600.0  # of one file, whose sender or reader has bounds of its own


class FinetuneClient:
    """Speaks over the channel of a `ControlClient`."""

    def __init__(
        self, channel: Callable[[], grpc.aio.Channel], *, metadata: Metadata = (), call_s: float
    ) -> None:
        self._channel = channel
        self._metadata = metadata
        self._call_s = call_s

    async def create(self, new: NewFinetune) -> Written:
        """Make a finetune without files."""
        request = pb.CreateFinetuneRequest(
            account=new.account,
            name=new.name,
            model=new.model,
            description=new.description,
            public=new.public,
        )
        with control_errors():
            made = await self._stub().CreateFinetune(
                request, timeout=self._call_s, metadata=self._metadata
            )
        return _written(made.finetune, made.version)

    async def upload(self, head: UploadHead, chunks: AsyncIterator[bytes]) -> Written:
        """Take one of a finetune's files."""
        call = self._stub().UploadAsset(timeout=TRANSFER_S, metadata=self._metadata)
        answer = asyncio.ensure_future(_answer(call))
        sending = asyncio.ensure_future(_send(call, head, chunks))
        try:
            await asyncio.wait({answer, sending}, return_when=asyncio.FIRST_COMPLETED)
            with control_errors():
                if sending.done():
                    sending.result()  # what went wrong in the file itself
                made = await answer
        finally:
            answer.cancel()
            sending.cancel()
            await asyncio.gather(answer, sending, return_exceptions=True)
            call.cancel()
        return _written(made.finetune, made.version)

    async def delete(self, account: str, name: str) -> Written:
        """Remove a finetune with its files."""
        request = pb.DeleteFinetuneRequest(account=account, finetune=name)
        with control_errors():
            gone = await self._stub().DeleteFinetune(
                request, timeout=self._call_s, metadata=self._metadata
            )
        return _written(gone.finetune, gone.version)

    async def fetch(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield a file in pieces."""
        call = self._stub().FetchAsset(
            pb.FetchAssetRequest(sha256=sha256), timeout=TRANSFER_S, metadata=self._metadata
        )
        try:
            with control_errors():
                async for message in call:
                    yield message.chunk
        finally:
            call.cancel()

    def _stub(self) -> FinetuneServiceAsyncStub:
        return FinetuneServiceStub(self._channel())


async def _send(call: UploadCall, head: UploadHead, chunks: AsyncIterator[bytes]) -> None:
    """Send all of it, or until no more can be sent."""
    message = pb.UploadHead(account=head.account, finetune=head.finetune, file=head.file)
    if not await _write(call, pb.UploadAssetRequest(head=message)):
        return
    async for chunk in chunks:
        if not await _write(call, pb.UploadAssetRequest(chunk=chunk)):
            return
    await _write(call, pb.UploadAssetRequest(end=pb.UploadEnd()))


async def _answer(call: UploadCall) -> pb.UploadAssetResponse:
    """Return the answer; a refusal's status comes once no more is sent."""
    answer = await call.read()
    if isinstance(answer, pb.UploadAssetResponse) and not answer.refused:
        return answer
    await call.done_writing()
    await call.read()
    raise Unavailable("control ended an upload without an answer")


async def _write(call: UploadCall, request: pb.UploadAssetRequest) -> bool:
    """Send one message; False where the call has ended, whose reason the answer has."""
    try:
        await call.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


def _written(message: control_pb2.Finetune, version: int) -> Written:
    found = resource_from_pb(control_pb2.Resource(finetune=message))
    if not isinstance(found, Finetune):
        raise Internal("control answered with something else than a finetune")
    return Written(found, version)
