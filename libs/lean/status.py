"""How a call ended: gRPC's status codes, and what HTTP and HTTP/2 say in their place."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from libs.lean.frames import ErrorCode, name_of

LONGEST_MESSAGE: Final = 4096  # bytes as encoded; peers bound all headers together at 8 KiB
NO_TRAILERS: Final[Mapping[str, str]] = MappingProxyType({})


class Status(enum.IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call that did not end well.

    `sent` is False only if the peer's application certainly never saw the call.
    """

    def __init__(
        self,
        status: Status,
        message: str,
        *,
        trailers: Mapping[str, str] = NO_TRAILERS,
        sent: bool = True,
    ) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status
        self.message = message
        self.trailers = trailers
        self.sent = sent


_BY_CODE: Final = {str(int(each)): each for each in Status}

# https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
OF_HTTP: Final[Mapping[int, Status]] = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    431: Status.RESOURCE_EXHAUSTED,  # not in gRPC's table; what its own limit on headers gives
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}

# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors; all others: INTERNAL
OF_RESET: Final[Mapping[int, Status]] = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def of_reset(code: int) -> RpcError:
    """Return what a reset stream means for its call."""
    status = OF_RESET.get(code, Status.INTERNAL)
    text = f"the peer reset the stream: {name_of(code)}"
    return RpcError(status, text, sent=code != ErrorCode.REFUSED_STREAM)


def of_code(text: str) -> Status:
    """Read a grpc-status; what is none is UNKNOWN."""
    return _BY_CODE.get(text, Status.UNKNOWN)


def quoted(message: str) -> str:
    """Return a grpc-message for the wire: percent-encoded, and bounded."""
    encoded = "".join(
        chr(each) if 0x20 <= each <= 0x7E and each != 0x25 else f"%{each:02X}"
        for each in message[:LONGEST_MESSAGE].encode("utf-8", "replace")
    )
    if len(encoded) <= LONGEST_MESSAGE:
        return encoded
    cut = encoded[:LONGEST_MESSAGE]
    # an escape is whole or not there
    return cut[: cut.rindex("%")] if "%" in cut[-2:] else cut


def unquoted(text: str) -> str:
    """Read a grpc-message; broken escapes stay as they are, as gRPC asks."""
    return unquote_to_bytes(text.encode("latin-1", "replace")).decode("utf-8", "replace")
