"""UsageService over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from libs.common.pb import usage_pb2 as pb
from libs.common.pb.usage_pb2_grpc import UsageServiceServicer
from libs.common.process import AnalyticsStatus
from libs.common.process_messages import analytics_to_pb
from libs.common.rpc import Context, statuses
from libs.common.usage_messages import (
    page_to_message,
    query_from_message,
    recent_from_message,
    row_to_message,
)
from services.analytics.copying import Copying
from services.analytics.usage import Usage

SERVICE: Final = "/constellation.v1.UsageService/"
CALLERS: Final = {  # the roles of certificates, by method
    SERVICE + "Query": ("entry", "operator"),
    SERVICE + "Recent": ("entry", "operator"),
    SERVICE + "Copy": ("operator",),
    SERVICE + "AnalyticsStatus": ("entry", "operator"),
}


class UsageServicer(UsageServiceServicer):
    """Turns messages into questions, and answers into messages."""

    def __init__(
        self, usage: Usage, copying: Copying, status: Callable[[], AnalyticsStatus]
    ) -> None:
        self._usage = usage
        self._copying = copying
        self._status = status

    async def Query(self, request: pb.QueryRequest, context: Context) -> pb.QueryResponse:
        """Answer what the events add up to."""
        async with statuses(context):
            rows = await self._usage.query(query_from_message(request))
            return pb.QueryResponse(rows=map(row_to_message, rows))
        raise AssertionError("statuses ends the call")

    async def Recent(self, request: pb.RecentRequest, context: Context) -> pb.RecentResponse:
        """Answer with the last attempts."""
        async with statuses(context):
            return page_to_message(await self._usage.recent(recent_from_message(request)))
        raise AssertionError("statuses ends the call")

    async def Copy(
        self, request: pb.CopyRequest, context: Context
    ) -> AsyncGenerator[pb.CopyResponse, None]:
        """Answer with the store's file."""
        async with statuses(context), aclosing(self._copying.pieces()) as pieces:
            async for piece in pieces:
                yield pb.CopyResponse(piece=piece)

    async def AnalyticsStatus(
        self, request: pb.AnalyticsStatusRequest, context: Context
    ) -> pb.AnalyticsStatusResponse:
        """Say how analytics is."""
        async with statuses(context):
            return analytics_to_pb(self._status())
        raise AssertionError("statuses ends the call")
