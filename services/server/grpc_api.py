"""The server's InferenceService: messages in, messages out, nothing decided here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from libs.common.clients.inference import CANCEL, INFER, STREAM_INFER
from libs.common.envelope import InferRequest
from libs.common.envelopes import parts_to_bytes, reply_to_chunks, request_from_bytes
from libs.common.errors import Internal, ModelRefused, RequestError
from libs.common.hops import Handlers, ServerCall
from libs.common.pb import inference_pb2 as pb
from libs.common.statuses import message_of, trailers_of
from libs.eager import EagerTask, Promise, start
from libs.lean import Status
from services.server.service import InferenceServer

CALLERS: Final = ("entry", "server")  # whose certificates may call, where there are some
T = TypeVar("T")
log = logging.getLogger(__name__)


class InferenceApi:
    """Answers calls of the server in an eager task each."""

    def __init__(self, server: InferenceServer, *, over_unix_socket: bool = False) -> None:
        self._server = server
        self._over_unix_socket = over_unix_socket

    def handlers(self) -> Handlers:
        """Return what answers each method."""
        return {
            INFER.path: self.infer,
            STREAM_INFER.path: self.stream_infer,
            CANCEL.path: self.cancel,
        }

    def infer(self, call: ServerCall, message: bytes) -> None:
        """Run a model."""
        request = self._read(call, message)
        if request is not None:
            work = self._server.infer(request)
            _answer(call, work, lambda reply: call.finish(reply_to_chunks(reply)))

    def stream_infer(self, call: ServerCall, message: bytes) -> None:
        """Run a model, streaming its parts."""
        request = self._read(call, message)
        if request is not None:
            _answer(call, self._stream(call, request), lambda _: call.end())

    def cancel(self, call: ServerCall, message: bytes) -> None:
        """Cancel calls of an account."""
        asked = pb.CancelRequest.FromString(message)
        work = self._server.cancel(account=asked.account, request_id=asked.request_id)

        def done(cancelled: Sequence[str]) -> None:
            call.finish((pb.CancelResponse(request_ids=cancelled).SerializeToString(),))

        _answer(call, work, done)

    def _read(self, call: ServerCall, message: bytes) -> InferRequest | None:
        """Read what is asked, or refuse it."""
        try:
            request = request_from_bytes(message)
        except ValueError as error:
            _fail(call, ModelRefused(str(error)))
            return None
        request.over_unix_socket = self._over_unix_socket
        return request

    async def _stream(self, call: ServerCall, request: InferRequest) -> None:
        def send(payloads: Sequence[bytes]) -> Promise[None] | None:
            return call.send((parts_to_bytes(payloads),))

        outcome = await self._server.stream(request, send)
        call.send((parts_to_bytes((), outcome),))


def _answer(call: ServerCall, work: Coroutine[Any, Any, T], done: Callable[[T], None]) -> None:
    """Run the work at once, and end the call with what becomes of it."""

    def ended(task: EagerTask[T]) -> None:
        error = task.exception()
        if error is None:
            try:
                done(task.result())
            except Exception as broken:  # noqa: BLE001 - whatever an answer has that none can hold
                _fail(call, broken)
        elif isinstance(error, asyncio.CancelledError):
            call.fail(Status.CANCELLED, "cancelled")
        else:
            _fail(call, error)

    task = start(work, ended)
    if not task.done():  # else they would hold one another, and only the collector free them
        call.on_cancel = task.cancel


def _fail(call: ServerCall, error: BaseException) -> None:
    if not isinstance(error, RequestError):
        log.error("a call failed for a reason of ours", exc_info=error)
        error = Internal("internal error")
    call.fail(Status[error.status], message_of(error), trailers_of(error))
