"""UsageService over gRPC."""

from __future__ import annotations

from dataclasses import asdict

from libs.common.errors import BadInput
from libs.common.pb import usage_pb2, usage_pb2_grpc
from libs.common.rpc import Context, statuses
from libs.common.usage import UsageGroup, UsageQuery
from services.analytics.usage import Usage


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    """Turns messages into questions, and rows into messages."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    async def Query(
        self, request: usage_pb2.QueryRequest, context: Context
    ) -> usage_pb2.QueryResponse:
        """Answer one question."""
        async with statuses(context):
            rows = await self._usage.query(_query(request))
            return usage_pb2.QueryResponse(rows=[usage_pb2.UsageRow(**asdict(row)) for row in rows])
        raise AssertionError("statuses ends the call")


def _query(request: usage_pb2.QueryRequest) -> UsageQuery:
    try:
        groups = tuple(UsageGroup(group) for group in request.group_by) or (UsageGroup.MODEL,)
    except ValueError as error:
        raise BadInput("an unknown group", pointer="/group_by") from error
    return UsageQuery(
        account=request.account,
        model=request.model,
        from_ms=request.from_ms,
        to_ms=request.to_ms,
        group_by=groups,
    )
