"""What control raises, and what its absence means, for all its clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from libs.common.errors import Unavailable
from libs.common.rpc import raise_from


@contextmanager
def control_errors() -> Iterator[None]:
    """Raise what control raised; whatever the transport says means that control is away."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if any(key == "reason" for key, _ in error.trailing_metadata() or ()):
            raise_from(error)
        raise Unavailable(f"control cannot be reached: {error.details()}") from error
