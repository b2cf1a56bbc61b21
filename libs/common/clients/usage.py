"""Asks analytics what the events say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from libs.common.clients.caller import NOBODY, Caller
from libs.common.errors import Unavailable
from libs.common.grpcio_tls import LiveChannel
from libs.common.pb import usage_pb2 as pb
from libs.common.pb.usage_pb2_grpc import UsageServiceStub
from libs.common.process import AnalyticsStatus
from libs.common.process_messages import analytics_from_pb
from libs.common.rpc import raise_from
from libs.common.usage import RecentPage, RecentQuery, UsageQuery, UsageRow
from libs.common.usage_messages import (
    page_from_message,
    query_to_message,
    recent_to_message,
    row_from_message,
)

if TYPE_CHECKING:
    from libs.common.pb.usage_pb2_grpc import UsageServiceAsyncStub


class UsageClient:
    """An async context manager around one channel; `address` is host:port or unix:/path.

    Raises RequestError: BadInput for a question that cannot be answered,
    Unavailable where analytics is away or its store is.
    """

    def __init__(self, address: str, *, caller: Caller = NOBODY, timeout_s: float = 60.0) -> None:
        self._address = address
        self._caller = caller
        self._timeout_s = timeout_s
        self._channel: LiveChannel | None = None

    def __repr__(self) -> str:
        return f"<UsageClient {self._address}>"

    async def __aenter__(self) -> Self:
        self._channel = self._caller.channel(self._address)
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
        request = query_to_message(query)
        try:
            answer = await self._stub.Query(request, **self._usual)
        except grpc.aio.AioRpcError as error:
            raise_from(error)
        return [row_from_message(row) for row in answer.rows]

    async def recent(self, query: RecentQuery) -> RecentPage:
        """Return the last attempts, newest first."""
        request = recent_to_message(query)
        try:
            answer = await self._stub.Recent(request, **self._usual)
        except grpc.aio.AioRpcError as error:
            raise_from(error)
        return page_from_message(answer)

    async def copy(self) -> AsyncGenerator[bytes, None]:
        """Yield the store's file, in pieces; each may take so long as `timeout_s`."""
        call = self._stub.Copy(pb.CopyRequest(), metadata=self._caller.metadata)
        try:
            while True:
                async with asyncio.timeout(self._timeout_s):
                    answer = await call.read()
                if not isinstance(answer, pb.CopyResponse):
                    return
                yield answer.piece
        except grpc.aio.AioRpcError as error:
            raise_from(error)
        except TimeoutError as error:
            raise Unavailable(f"analytics has sent nothing for {self._timeout_s:g} s") from error
        finally:
            call.cancel()

    async def status(self) -> AnalyticsStatus | None:
        """Return how analytics is; None: its version does not say."""
        request = pb.AnalyticsStatusRequest()
        try:
            answer = await self._stub.AnalyticsStatus(request, **self._usual)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise_from(error)
        return analytics_from_pb(answer)

    @property
    def _usual(self) -> dict[str, Any]:
        return {"timeout": self._timeout_s, "metadata": self._caller.metadata}

    @property
    def _stub(self) -> UsageServiceAsyncStub:
        if self._channel is None:
            raise RuntimeError("the client is used outside of its block")
        return UsageServiceStub(self._channel.now())
