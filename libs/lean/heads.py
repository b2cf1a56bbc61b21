"""What requests and answers say in their headers, read once per distinct block."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Final

from libs.lean.headers import Field, content_length, is_grpc, split
from libs.lean.status import NO_TRAILERS, Status, of_code, unquoted

_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
LONGEST_NAMED: Final = 200
_FORM: Final = {":method", ":scheme", ":path"}
_OWN: Final = ("content-type", "grpc-status", "grpc-message", "grpc-encoding", "te")


class Request:
    """A block that a client sent; plain, for compiled code is slow with a dataclass."""

    __slots__ = (
        "content_length",
        "is_encoded",
        "is_plain",
        "is_to_be_read",
        "is_trailers",
        "malformed",
        "metadata",
        "path",
        "refusal",
        "timeout_s",
    )

    def __init__(
        self,
        *,
        malformed: str | None = None,
        refusal: tuple[Status, str] | None = None,
        is_trailers: bool = False,
        is_plain: bool = False,
        path: str = "",
        metadata: Mapping[str, str] = NO_TRAILERS,
        timeout_s: float | None = None,
        content_length: int = -1,
        is_encoded: bool = False,
    ) -> None:
        self.malformed = malformed
        self.refusal = refusal  # well-formed, but not to be handled
        self.is_trailers = is_trailers
        self.is_plain = is_plain  # HTTP, but not gRPC
        self.path = path
        self.metadata = metadata
        self.timeout_s = timeout_s
        self.content_length = content_length
        self.is_encoded = is_encoded
        self.is_to_be_read = not is_plain and refusal is None and not (malformed or is_trailers)

    def __repr__(self) -> str:
        return f"<Request {self.path} {self.malformed or self.refusal or self.metadata}>"


class Answer:
    """A block that a server sent: its first, or trailers, or both in one."""

    __slots__ = (
        "content_length",
        "http_status",
        "is_good_end",
        "is_good_start",
        "is_grpc",
        "malformed",
        "message",
        "oversize",
        "status",
        "trailers",
    )

    def __init__(
        self,
        *,
        malformed: str | None = None,
        oversize: bool = False,
        http_status: int = 0,
        is_grpc: bool = False,
        status: Status | None = None,
        message: str = "",
        trailers: Mapping[str, str] = NO_TRAILERS,
        content_length: int = -1,
    ) -> None:
        self.malformed = malformed
        self.oversize = oversize
        self.http_status = http_status  # 0: trailers
        self.is_grpc = is_grpc
        self.status = status
        self.message = message
        self.trailers = trailers
        self.content_length = content_length
        # what nearly all are, told by one look:
        fine = not malformed and not oversize
        self.is_good_start = (
            fine and http_status == 200 and is_grpc and status is None and content_length < 0
        )
        self.is_good_end = fine and not http_status and status is Status.OK

    def __repr__(self) -> str:
        return f"<Answer {self.http_status} {self.malformed or self.status} {self.message}>"


def read_request(paths: Container[str], fields: list[Field], oversize: bool) -> Request:
    """Read the fields of a request, or of its trailers; `paths` are the methods there are."""
    try:
        pseudo, others = split(fields)
        if not pseudo:
            return Request(is_trailers=True)
        _check_form(pseudo)
        length = content_length(others)
    except ValueError as error:
        return Request(malformed=str(error))
    plain = pseudo[":method"] != "POST" or not is_grpc(others.get("content-type", ""))
    timeout_s, refusal = None, None
    if oversize:
        refusal = (Status.RESOURCE_EXHAUSTED, "more headers than allowed")
    elif "grpc-timeout" in others:
        timeout_s = _seconds(others["grpc-timeout"])
        if timeout_s is None:
            refusal = (Status.INTERNAL, "malformed grpc-timeout")
    path = pseudo.get(":path", "")
    if refusal is None and path not in paths:
        refusal = (Status.UNIMPLEMENTED, f"unknown method {path[:LONGEST_NAMED]}")
    return Request(
        path=path,
        is_plain=plain,
        refusal=refusal,
        metadata=MappingProxyType(others),
        timeout_s=timeout_s,
        content_length=length,
        is_encoded=others.get("grpc-encoding", "identity") != "identity",
    )


def _check_form(pseudo: dict[str, str]) -> None:
    if pseudo.get(":method") == "CONNECT":
        if pseudo.keys() != {":method", ":authority"}:
            raise ValueError("a malformed CONNECT")
    elif pseudo.keys() - {":authority"} != _FORM:
        raise ValueError("pseudo-headers are missing, or unknown")
    elif not pseudo[":path"]:
        raise ValueError("an empty :path")


def _seconds(text: str) -> float | None:
    match = _TIMEOUT.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def read_answer(fields: list[Field], oversize: bool) -> Answer:
    """Read the fields of an answer, or of its trailers."""
    try:
        pseudo, others = split(fields)
        http_status = _http_status(pseudo)
        length = content_length(others)
    except ValueError as error:
        return Answer(malformed=str(error))
    status = of_code(others["grpc-status"]) if "grpc-status" in others else None
    return Answer(
        oversize=oversize,
        http_status=http_status,
        is_grpc=is_grpc(others.get("content-type", "")),
        status=status,
        message=unquoted(others.get("grpc-message", "")),
        trailers=MappingProxyType({n: v for n, v in others.items() if n not in _OWN}),
        content_length=length,
    )


def _http_status(pseudo: dict[str, str]) -> int:
    if not pseudo:
        return 0
    text = pseudo.get(":status", "")
    if len(pseudo) > 1 or not re.fullmatch("[1-9][0-9][0-9]", text):
        raise ValueError("not just a :status")
    return int(text)
