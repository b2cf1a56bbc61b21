"""A client of control over gRPC; implements `ports.ControlPlane`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.json_format import ParseError

from libs.common.clients.away import control_errors, is_away, is_unknown
from libs.common.clients.caller import NOBODY, Caller
from libs.common.clients.finetunes import FinetuneClient
from libs.common.errors import BadInput, Unavailable
from libs.common.explanation import Explanation, Question
from libs.common.grpcio_tls import LiveChannel
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
from libs.common.process import ControlStatus
from libs.common.process_messages import status_from_pb
from libs.common.world_map import Ref, Report, Resource, Update

if TYPE_CHECKING:
    from libs.common.pb.control_pb2_grpc import ControlServiceAsyncStub

    WatchCall = grpc.aio.UnaryStreamCall[pb.WatchRequest, pb.WatchResponse]
    ReportCall = grpc.aio.StreamStreamCall[pb.ReportRequest, pb.ReportResponse]

CALL_S = 10.0
SILENT_S = 6.0  # control shows that it lives every 2 s
T = TypeVar("T")


class ControlClient:
    """Speaks to the control at `address` (host:port or unix:/path).

    Several addresses, with commas between them, are those of an active control and its standbys,
    which do not listen: each is asked in turn until one answers.
    """

    def __init__(self, address: str, *, caller: Caller = NOBODY, call_s: float = CALL_S) -> None:
        self._addresses = deque(each.strip() for each in address.split(","))
        self._caller = caller
        self._metadata = caller.metadata
        self._call_s = call_s
        self._closing: set[asyncio.Task[None]] = set()
        self._opened: LiveChannel | None = None
        self.finetunes = FinetuneClient(
            lambda: self._channel().now(), metadata=caller.metadata, call_s=call_s
        )

    def __repr__(self) -> str:
        state = "open" if self._opened else "closed"
        return f"<ControlClient {','.join(self._addresses)} {state}>"

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
        for each in self._closing:
            each.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def watch(self, colo: str = "") -> AsyncGenerator[Update, None]:
        """Yield everything once, then every change, as readers in a colo see it."""
        for tried in range(len(self._addresses)):
            is_last = tried == len(self._addresses) - 1
            opened, heard = self._channel(), False
            call = self._stub().Watch(pb.WatchRequest(colo=colo), metadata=self._metadata)
            try:
                with control_errors():
                    while (message := await _next(call)) is not None:
                        heard = True
                        if message.complete or message.puts or message.deletes:
                            yield update_from_pb(message)
            except TimeoutError:
                self._turn(opened)
                raise Unavailable("control is silent") from None
            except Unavailable as error:
                if heard or is_last or not is_away(error):
                    raise
                self._turn(opened)
            finally:
                call.cancel()
            if heard:
                break
        raise Unavailable("control ended the watch")

    async def report(self, reports: AsyncIterator[Report], granted: Granted | None = None) -> None:
        """Send reports until they end, and then a goodbye."""
        call = self._stub().Report(metadata=self._metadata)
        listening = asyncio.create_task(_listen(call, granted))
        sending = asyncio.create_task(_send(call, reports))
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            with control_errors():
                if sending.done():
                    sending.result()  # what went wrong in the reports themselves
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
        answer = await self._asked(lambda stub: stub.Put(request, **self._usual))
        return answer.version

    async def delete(self, name: Ref) -> int:
        """Remove a resource; a missing one is no error."""
        request = pb.DeleteRequest(resource=pb.ResourceRef(kind=name.kind, key=name.key))
        answer = await self._asked(lambda stub: stub.Delete(request, **self._usual))
        return answer.version

    async def explain(self, question: Question) -> Explanation:
        """Return what was decided about a model, and from what."""
        request = question_to_pb(question)
        answer = await self._asked(lambda stub: stub.Explain(request, **self._usual))
        return explanation_from_pb(answer)

    async def status(self) -> ControlStatus | None:
        """Return how control is, and those that report to it; None: its version does not say."""
        try:
            answer = await self._asked(lambda stub: stub.Status(pb.StatusRequest(), **self._usual))
        except Unavailable as error:
            if is_unknown(error):
                return None
            raise
        return status_from_pb(answer)

    async def _asked(self, call: Callable[[ControlServiceAsyncStub], Awaitable[T]]) -> T:
        """Ask one control after the other; whatever is asked may be repeated."""
        for _ in range(len(self._addresses) - 1):
            opened = self._channel()
            try:
                with control_errors():
                    return await call(self._stub())
            except Unavailable as error:
                if not is_away(error):
                    raise
                self._turn(opened)
        with control_errors():
            return await call(self._stub())
        raise AssertionError("what is raised above is told in our words")

    @property
    def _usual(self) -> dict[str, Any]:
        """Return what all calls with one answer have."""
        return {"timeout": self._call_s, "metadata": self._metadata}

    def _turn(self, failed: LiveChannel) -> None:
        """Go on to the next address, unless another call has done so."""
        if self._opened is failed:
            self._addresses.rotate(-1)
            self._opened = None
            closing = asyncio.create_task(failed.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _stub(self) -> ControlServiceAsyncStub:
        return ControlServiceStub(self._channel().now())

    def _channel(self) -> LiveChannel:
        if self._opened is None:
            self._opened = self._caller.channel(self._addresses[0])
        return self._opened


async def _next(call: WatchCall) -> pb.WatchResponse | None:
    """Return the next message, None at the end; TimeoutError where even signs of life stay away."""
    async with asyncio.timeout(SILENT_S):
        message = await call.read()
    return message if isinstance(message, pb.WatchResponse) else None


async def _send(
    call: ReportCall,
    reports: AsyncIterator[Report],
) -> None:
    async for report in reports:
        message = report_to_pb(report)
        await asyncio.sleep(0)  # others' tokens wait for each of these steps, not for all
        if not await _write(call, message):
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
