"""The client for programs without an event loop; threads may share one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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


class Stream(Iterator[Any]):
    """The parts of an answer; leaving its block, or `close`, stops the model."""

    def __init__(self, call: Any, first: list[Any], request_id: str) -> None:
        self.request_id = request_id
        self._call = call
        self._first = first

    def __next__(self) -> Any:
        """Return the next part; raises ConstellationError where the stream breaks."""
        if self._first:
            return answers.read(self._first.pop())
        try:
            return answers.read(next(self._call))
        except grpc.RpcError as error:
            raise error_of(error, self.request_id) from error

    def close(self) -> None:
        """Stop the model, unless it has ended."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AI:
    """Runs models of one account; a context manager, or `close` it."""

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
        """Call `address`, host:port; nothing is opened before the first call.

        Without `token` it is that of CONSTELLATION_TOKEN. `timeout` in seconds and `retries` are
        those of each call. `tls`: True, or whom to trust.
        """
        self._settings = settings(
            address,
            token=token,
            account=account,
            tls=tls,
            timeout=timeout,
            retries=retries,
            source=source,
        )
        found = self._settings.tls
        if found is None:
            self._channel = grpc.insecure_channel(address, options=OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, found.credentials(), options=OPTIONS)
        self._closed = threading.Event()  # which also ends a wait between two tries

    def __repr__(self) -> str:
        return f"<AI {self._settings.address}>"

    @overload
    def run(
        self,
        model: str,
        inputs: Inputs,
        *,
        stream: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Any: ...

    @overload
    def run(
        self, model: str, inputs: Inputs, *, stream: Literal[True], **options: Unpack[Options]
    ) -> Stream: ...

    @overload
    def run(
        self, model: str, inputs: Inputs, *, stream: bool, **options: Unpack[Options]
    ) -> Any: ...

    def run(
        self, model: str, inputs: Inputs, *, stream: bool = False, **options: Unpack[Options]
    ) -> Any:
        """Run a model and return its result: JSON's values, or Binary; a Stream with `stream`.

        `inputs` are the fields of the model's task, in which images and audio may be bytes; or
        the bytes of a whole body. Raises ConstellationError.
        """
        request = request_of(self._settings, model, inputs, options)
        tries = Tries(self._settings, options)
        return self._stream(request, tries) if stream else self._run(request, tries)

    def models(self, task: str = "") -> list[Model]:
        """Return the models that the account may run, of one task or of all."""
        request = pb.ModelsRequest(account=self._settings.account, task=task)
        return answers.models(self._unary("Models", request))

    def cancel(self, request_id: str) -> list[str]:
        """Cancel requests by our id or the client's; return our ids of what was cancelled."""
        request = pb.CancelRunRequest(account=self._settings.account, request_id=request_id)
        return list(self._unary("Cancel", request).request_ids)

    def close(self) -> None:
        """Let go of the connection; calls in flight end as Cancelled."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, request: pb.RunRequest, tries: Tries) -> Any:
        return answers.read(self._unary("Run", request, tries))

    def _unary(self, name: str, request: Any, tries: Tries | None = None) -> Any:
        tries = tries or Tries(self._settings, {})
        call = self._channel.unary_unary(
            SERVICE + name,
            request_serializer=type(request).SerializeToString,
            response_deserializer=METHODS[name].FromString,
        )
        while True:
            try:
                return call(request, timeout=tries.timeout, metadata=self._settings.metadata)
            except grpc.RpcError as error:
                failed = error_of(error, getattr(request, "request_id", ""))
                wait_s = tries.wait_after(failed)
            self._closed.wait(wait_s)

    def _stream(self, request: pb.RunRequest, tries: Tries) -> Stream:
        method = self._channel.unary_stream(
            SERVICE + "RunStream",
            request_serializer=pb.RunRequest.SerializeToString,
            response_deserializer=pb.RunStreamResponse.FromString,
        )
        while True:
            call = method(request, timeout=tries.timeout, metadata=self._settings.metadata)
            try:
                first = [each for each in (next(call, None),) if each is not None]
                ids = texts(call.initial_metadata())
                return Stream(call, first, ids.get(REQUEST_ID, ""))
            except grpc.RpcError as error:
                wait_s = tries.wait_after(error_of(error, request.request_id))
            self._closed.wait(wait_s)
