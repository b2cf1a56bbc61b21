"""Asks analytics what the events add up to."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from libs.common.pb import usage_pb2, usage_pb2_grpc
from libs.common.rpc import channel, raise_from
from libs.common.usage import UsageQuery, UsageRow


class UsageClient:
    """An async context manager around one channel; `address` is host:port or unix:/path.

    Raises RequestError: BadInput for a question that cannot be answered,
    Unavailable where analytics is away or its store is.
    """

    def __init__(self, address: str, *, timeout_s: float = 60.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None

    def __repr__(self) -> str:
        return f"<UsageClient {self._address}>"

    async def __aenter__(self) -> Self:
        self._channel = channel(self._address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def query(self, query: UsageQuery) -> list[UsageRow]:
        """Return the rows, in the order of their groups."""
        if self._channel is None:
            raise RuntimeError("the client is used outside of its block")
        request = usage_pb2.QueryRequest(
            account=query.account,
            model=query.model,
            from_ms=query.from_ms,
            to_ms=query.to_ms,
            group_by=[usage_pb2.UsageGroup.ValueType(group) for group in query.group_by],
        )
        try:
            answer = await usage_pb2_grpc.UsageServiceStub(self._channel).Query(
                request, timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise_from(error)
        return [_row(row) for row in answer.rows]


def _row(row: usage_pb2.UsageRow) -> UsageRow:
    return UsageRow(
        model=row.model,
        hour_ms=row.hour_ms,
        finetune=row.finetune,
        source=row.source,
        requests=row.requests,
        errors=row.errors,
        neurons=row.neurons,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        p50_ms=row.p50_ms,
        p95_ms=row.p95_ms,
        p99_ms=row.p99_ms,
    )
