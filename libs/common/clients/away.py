"""What control raises, and what its absence means, for all its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from libs.common.errors import RequestError, Unavailable
from libs.common.rpc import raise_from


@contextmanager
def control_errors() -> Iterator[None]:
    """Raise what control raised; whatever the transport says means that control is away."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if _was_answered(error):
            raise_from(error)
        raise Unavailable(f"control cannot be reached: {error.details()}") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # grpc's way to say that its channel was closed: nobody has cancelled us
        raise Unavailable("the connection to control was closed") from None


def is_away(error: Unavailable) -> bool:
    """Whether nobody answered, so that it may help to ask at another address."""
    cause = error.__cause__
    return isinstance(cause, grpc.aio.AioRpcError) and not _was_answered(cause)


def is_unknown(error: RequestError) -> bool:
    """Whether the other side is of a version that has no such rpc."""
    cause = error.__cause__
    unknown = grpc.StatusCode.UNIMPLEMENTED
    return isinstance(cause, grpc.aio.AioRpcError) and cause.code() == unknown


def _was_answered(error: grpc.aio.AioRpcError) -> bool:
    return any(key == "reason" for key, _ in error.trailing_metadata() or ())
