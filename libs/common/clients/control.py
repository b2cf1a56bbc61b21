"""A client of control over gRPC; implements `ports.ControlPlane`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

import grpc
from google.protobuf.json_format import ParseError

from libs.common.clients.away import control_errors
from libs.common.clients.finetunes import FinetuneClient
from libs.common.errors import BadInput, Unavailable
from libs.common.explanation import Explanation, Question
from libs.common.messages import (
    explanation_from_pb,
    question_to_pb,
    report_to_pb,
    resource_to_pb,
    shares_from_pb,
    update_from_pb,
)
from libs.common.pb import control_pb2 as pb
from libs.common.pb.control_pb2_grpc import ControlServiceStub
from libs.common.ports import Granted
from libs.common.rpc import channel
from libs.common.world_map import Ref, Report, Resource, Update

if TYPE_CHECKING:
    from libs.common.pb.control_pb2_grpc import ControlServiceAsyncStub

    ReportCall = grpc.aio.StreamStreamCall[pb.ReportRequest, pb.ReportResponse]

CALL_S = 10.0


class ControlClient:
    """Speaks to the control at `address` (host:port or unix:/path)."""

    def __init__(self, address: str, *, call_s: float = CALL_S) -> None:
        self._address = address
        self._call_s = call_s
        self._opened: grpc.aio.Channel | None = None
        self.finetunes = FinetuneClient(self._channel, call_s=call_s)

    def __repr__(self) -> str:
        return f"<ControlClient {self._address} {'open' if self._opened else 'closed'}>"

    async def __aenter__(self) -> ControlClient:
        """Connect at the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; the next call would open another."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await opened.close()

    async def watch(self) -> AsyncGenerator[Update, None]:
        """Yield everything once, then every change."""
        call = self._stub().Watch(pb.WatchRequest())
        try:
            with control_errors():
                async for message in call:
                    yield update_from_pb(message)
        finally:
            call.cancel()
        raise Unavailable("control ended the watch")

    async def report(self, reports: AsyncIterator[Report], granted: Granted | None = None) -> None:
        """Send reports until they end, and then a goodbye."""
        call = self._stub().Report()
        listening = asyncio.create_task(_listen(call, granted))
        sending = asyncio.create_task(_send(call, reports))
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()  # what went wrong in the reports themselves
            with control_errors():
                await listening
        finally:
            listening.cancel()
            sending.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)
            call.cancel()

    async def put(self, resource: Resource) -> int:
        """Write a resource and return the version that has it."""
        try:
            request = pb.PutRequest(resource=resource_to_pb(resource))
        except (ParseError, TypeError, ValueError) as error:
            raise BadInput(str(error)) from error
        with control_errors():
            return (await self._stub().Put(request, timeout=self._call_s)).version

    async def delete(self, name: Ref) -> int:
        """Remove a resource; a missing one is no error."""
        request = pb.DeleteRequest(resource=pb.ResourceRef(kind=name.kind, key=name.key))
        with control_errors():
            return (await self._stub().Delete(request, timeout=self._call_s)).version

    async def explain(self, question: Question) -> Explanation:
        """Return what was decided about a model, and from what."""
        with control_errors():
            request = question_to_pb(question)
            response = await self._stub().Explain(request, timeout=self._call_s)
        return explanation_from_pb(response)

    def _stub(self) -> ControlServiceAsyncStub:
        return ControlServiceStub(self._channel())

    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            self._opened = channel(self._address)
        return self._opened


async def _send(
    call: ReportCall,
    reports: AsyncIterator[Report],
) -> None:
    async for report in reports:
        if not await _write(call, report_to_pb(report)):
            return
    if await _write(call, pb.ReportRequest(leaving=True)):
        await call.done_writing()


async def _write(
    call: ReportCall,
    request: pb.ReportRequest,
) -> bool:
    """Send one message; False where the call has ended, whose reason the listener gets."""
    try:
        await call.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


async def _listen(call: ReportCall, granted: Granted | None) -> None:
    async for answer in call:
        if granted is not None:
            granted(shares_from_pb(answer))
