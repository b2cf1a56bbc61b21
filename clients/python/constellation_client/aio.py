"""The client for programs on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import grpc

from constellation_client import answers
from constellation_client.answers import Model
from constellation_client.asking import Inputs, Options, request_of
from constellation_client.connection import METHODS, OPTIONS, SERVICE, Tls, settings
from constellation_client.errors import REQUEST_ID, error_of, texts
from constellation_client.pb import binding_pb2 as pb
from constellation_client.retrying import Tries


class AsyncStream(AsyncIterator[Any]):
    """The parts of an answer; leaving its block, or `close`, stops the model."""

    def __init__(self, call: Any, first: list[Any], request_id: str) -> None:
        self.request_id = request_id
        self._call = call
        self._first = first

    async def __anext__(self) -> Any:
        """Return the next part; raises ConstellationError where the stream breaks."""
        if self._first:
            return answers.read(self._first.pop())
        try:
            part = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.request_id) from error
        if part is grpc.aio.EOF:
            raise StopAsyncIteration
        return answers.read(part)

    async def close(self) -> None:
        """Stop the model, unless it has ended."""
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncAI:
    """Runs models of one account; an async context manager, or `close` it."""

    def __init__(
        self,
        address: str = "127.0.0.1:8081",
        *,
        token: str | None = None,
        account: str = "",
        tls: Tls | bool = False,
        timeout: float | None = 60.0,
        retries: int = 2,
        source: str = "worker_binding",
    ) -> None:
        """Call `address`, host:port, with the same arguments as `AI`."""
        self._settings = settings(
            address,
            token=token,
            account=account,
            tls=tls,
            timeout=timeout,
            retries=retries,
            source=source,
        )
        self._opened: grpc.aio.Channel | None = None  # in the loop of the first call

    def __repr__(self) -> str:
        return f"<AsyncAI {self._settings.address}>"

    @overload
    async def run(
        self,
        model: str,
        inputs: Inputs,
        *,
        stream: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Any: ...

    @overload
    async def run(
        self, model: str, inputs: Inputs, *, stream: Literal[True], **options: Unpack[Options]
    ) -> AsyncStream: ...

    @overload
    async def run(
        self, model: str, inputs: Inputs, *, stream: bool, **options: Unpack[Options]
    ) -> Any: ...

    async def run(
        self, model: str, inputs: Inputs, *, stream: bool = False, **options: Unpack[Options]
    ) -> Any:
        """Run a model and return its result, or with `stream` an AsyncStream: as `AI.run`.

        Cancelling the task stops the model.
        """
        request = request_of(self._settings, model, inputs, options)
        tries = Tries(self._settings, options)
        return await (self._stream(request, tries) if stream else self._run(request, tries))

    async def models(self, task: str = "") -> list[Model]:
        """Return the models that the account may run, of one task or of all."""
        request = pb.ModelsRequest(account=self._settings.account, task=task)
        return answers.models(await self._unary("Models", request))

    async def cancel(self, request_id: str) -> list[str]:
        """Cancel requests by our id or the client's; return our ids of what was cancelled."""
        request = pb.CancelRunRequest(account=self._settings.account, request_id=request_id)
        return list((await self._unary("Cancel", request)).request_ids)

    async def close(self) -> None:
        """Let go of the connection; calls in flight end as Cancelled."""
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            address, tls = self._settings.address, self._settings.tls
            if tls is None:
                self._opened = grpc.aio.insecure_channel(address, options=OPTIONS)
            else:
                self._opened = grpc.aio.secure_channel(address, tls.credentials(), options=OPTIONS)
        return self._opened

    async def _run(self, request: pb.RunRequest, tries: Tries) -> Any:
        return answers.read(await self._unary("Run", request, tries))

    async def _unary(self, name: str, request: Any, tries: Tries | None = None) -> Any:
        tries = tries or Tries(self._settings, {})
        method: Any = self._channel().unary_unary(
            SERVICE + name,
            request_serializer=type(request).SerializeToString,
            response_deserializer=METHODS[name].FromString,
        )
        while True:
            try:
                return await method(
                    request, timeout=tries.timeout, metadata=self._settings.metadata
                )
            except grpc.aio.AioRpcError as error:
                failed = error_of(error, getattr(request, "request_id", ""))
                wait_s = tries.wait_after(failed)
            await asyncio.sleep(wait_s)

    async def _stream(self, request: pb.RunRequest, tries: Tries) -> AsyncStream:
        method: Any = self._channel().unary_stream(
            SERVICE + "RunStream",
            request_serializer=pb.RunRequest.SerializeToString,
            response_deserializer=pb.RunStreamResponse.FromString,
        )
        while True:
            call = method(request, timeout=tries.timeout, metadata=self._settings.metadata)
            try:
                part = await call.read()
                ids = texts(await call.initial_metadata())
                first = [] if part is grpc.aio.EOF else [part]
                return AsyncStream(call, first, ids.get(REQUEST_ID, ""))
            except grpc.aio.AioRpcError as error:
                wait_s = tries.wait_after(error_of(error, request.request_id))
            except BaseException:
                call.cancel()
                raise
            await asyncio.sleep(wait_s)
