"""A server in another process; implements `libs.common.ports.Inference`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from libs.common import deadline
from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.envelopes import parts_from_messages, reply_from_bytes, request_to_chunks
from libs.common.errors import Internal, RequestError, ServerLost, StreamLost, Unavailable
from libs.common.hops import Channel
from libs.common.pb import inference_pb2 as pb
from libs.common.ports import Send
from libs.common.statuses import error_from
from libs.eager import Promise
from libs.lean import Method, RpcError

SERVICE = "/constellation.v1.InferenceService/"
INFER: Final = Method(SERVICE + "Infer")
STREAM_INFER: Final = Method(SERVICE + "StreamInfer")
CANCEL: Final = Method(SERVICE + "Cancel")
CANCEL_S: Final = 2.0  # for a server to look through its calls
GRACE_S: Final = 0.5  # our own bounds come a little later than the server's, whose errors say more


class RemoteInference:
    """One server's InferenceService, over one channel that all calls share."""

    def __init__(self, address: str, channel: Channel) -> None:
        self.address = address
        self._channel = channel

    def __repr__(self) -> str:
        return f"<RemoteInference {self.address}>"

    async def infer(self, request: InferRequest) -> InferReply:
        """Run the request and return its one answer."""
        bounds = request.time_bounds
        bound = min(bounds.first_part_ms, bounds.total_ms) or bounds.total_ms
        timeout_s = (bound / 1000 or deadline.LONGEST_S) + GRACE_S
        message = request_to_chunks(request)
        try:
            return reply_from_bytes(await self._channel.unary(INFER, message, timeout_s=timeout_s))
        except RpcError as error:
            raise _raised(error) from error
        except DecodeError as error:
            raise Internal("the server's answer cannot be read") from error

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        """Run the request, hand its parts to `send`, and say how it was served."""
        now = time.monotonic() + GRACE_S
        until = deadline.fix(request.time_bounds, now)
        message = request_to_chunks(request)
        call = self._channel.stream(STREAM_INFER, message, timeout_s=until.total - now)
        call.due = min(until.first_part, until.total)
        outcome: Outcome | None = None

        def pass_on(messages: list[bytes]) -> Promise[None] | None:
            nonlocal outcome
            parts = parts_from_messages(messages)
            outcome = parts.outcome
            call.due = min(time.monotonic() + GRACE_S + until.idle, until.total)
            return send(parts.payloads) if parts.payloads else None

        try:
            await call.forward(pass_on)
        except RpcError as error:
            raise _raised(error) from error
        except DecodeError as error:
            raise Internal("the server's answer cannot be read") from error
        finally:
            call.cancel()
        if outcome is None:
            raise StreamLost("the stream ended before its last part", sent=True)
        return outcome

    async def cancel(self, *, account: str, request_id: str) -> Sequence[str]:
        """Cancel an account's calls of this id; return our ids of them."""
        message = pb.CancelRequest(account=account, request_id=request_id).SerializeToString()
        try:
            answer = await self._channel.unary(CANCEL, (message,), timeout_s=CANCEL_S)
            return pb.CancelResponse.FromString(answer).request_ids
        except RpcError as error:
            raise _raised(error) from error
        except DecodeError as error:
            raise Internal("the server's answer cannot be read") from error

    async def close(self) -> None:
        """Close the channel; calls in flight end as Unavailable."""
        await self._channel.close()


def _raised(error: RpcError) -> RequestError:
    """Return what the server raised; a lost server may have sent the request on."""
    raised = error_from(error.status.name, error.message, error.trailers)
    if isinstance(raised, Unavailable) and "reason" not in error.trailers:
        return ServerLost(f"the server was lost: {raised}", sent=error.sent)
    return raised
