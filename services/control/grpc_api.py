"""Control's gRPC front: messages in, messages out, nothing decided here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final, Protocol

from pydantic import ValidationError

from libs.common.errors import BadInput, Unavailable
from libs.common.grpcio_tls import peer_uris
from libs.common.limit_shares import Shares
from libs.common.messages import (
    explanation_to_pb,
    question_from_pb,
    report_from_pb,
    resource_from_pb,
    shares_to_pb,
    update_to_pb,
)
from libs.common.pb import control_pb2 as pb
from libs.common.pb.control_pb2_grpc import ControlServiceServicer
from libs.common.process import ControlStatus
from libs.common.process_messages import status_to_pb
from libs.common.rpc import Context, statuses
from libs.common.world_map import Ref, Report, Update
from services.control.callers import check_reporter
from services.control.service import Control

SIGN_S: Final = 2.0


class Requests(Protocol):
    """What grpc hands to a method that takes a stream."""

    def __aiter__(self) -> AsyncIterator[pb.ReportRequest]:
        """Iterate over the messages."""
        ...


class ControlServicer(ControlServiceServicer):
    """Adapts `Control` to the generated service."""

    def __init__(self, control: Control, status: Callable[[], ControlStatus]) -> None:
        self._control = control
        self._status = status
        self._last: tuple[Update, pb.WatchResponse] | None = None

    async def Watch(
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        """Everything, then every change; where nothing changes, a sign of life."""
        async with (
            statuses(context),
            aclosing(_with_signs(self._control.watch(request.colo))) as updates,
        ):
            async for update in updates:
                yield pb.WatchResponse() if update is None else self._message(update)

    async def Report(  # type: ignore[override]  # may write, too; the stub knows yield alone
        self, request_iterator: Requests, context: Context
    ) -> None:
        """A reporter's life; an entry's reports are answered once they are taken."""
        answers: list[Shares] = []
        uris = peer_uris(context)

        async def answered() -> AsyncGenerator[Report, None]:
            async with aclosing(_reports(request_iterator)) as reports:
                async for report in reports:
                    if uris:
                        check_reporter(report.kind, uris)
                    yield report
                    while answers:
                        await context.write(shares_to_pb(answers.pop(0)))

        async with statuses(context), aclosing(answered()) as reports:
            await self._control.report(reports, answers.append)

    async def Put(self, request: pb.PutRequest, context: Context) -> pb.PutResponse:
        """Write a resource."""
        async with statuses(context):
            with _bad_input():
                resource = resource_from_pb(request.resource)
            return pb.PutResponse(version=await self._control.put(resource))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        """Remove a resource."""
        async with statuses(context):
            name = Ref(request.resource.kind, request.resource.key)
            return pb.DeleteResponse(version=await self._control.delete(name))

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        """Say why a model has as many instances as it has."""
        async with statuses(context):
            found = await self._control.explain(question_from_pb(request))
            return explanation_to_pb(found)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """Say how control is, and those that report to it."""
        async with statuses(context):
            return status_to_pb(self._status())
        raise AssertionError("statuses ends the call")

    def _message(self, update: Update) -> pb.WatchResponse:
        """Write an update once for all its readers, who mostly ask one after the other."""
        if self._last is None or self._last[0] is not update:
            self._last = (update, update_to_pb(update))
        return self._last[1]


async def _with_signs(updates: AsyncGenerator[Update, None]) -> AsyncGenerator[Update | None, None]:
    """Yield the updates, and None whenever there was none for a while."""
    async with aclosing(updates):
        coming = asyncio.ensure_future(anext(updates, None))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=SIGN_S)
                if not done:
                    yield None
                    continue
                update = coming.result()
                if update is None:
                    return
                yield update
                coming = asyncio.ensure_future(anext(updates, None))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _reports(requests: Requests) -> AsyncGenerator[Report, None]:
    """Yield the reports up to the goodbye; a stream that ends without one was lost."""
    async for request in requests:
        if request.leaving:
            return
        with _bad_input():
            report = report_from_pb(request)
        yield report
    raise Unavailable("the report stream ended without a goodbye")


@contextmanager
def _bad_input() -> Iterator[None]:
    """Name the field that does not stand."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise BadInput(f"{pointer or 'value'}: {first['msg']}", pointer=pointer) from error
    except ValueError as error:
        raise BadInput(str(error)) from error
