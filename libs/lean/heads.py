"""What requests and answers say in their headers, read once per distinct block."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from libs.lean.headers import Field, content_length, is_grpc, split
from libs.lean.status import NO_TRAILERS, Status, of_code, unquoted

_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
LONGEST_NAMED: Final = 200
_FORM: Final = {":method", ":scheme", ":path"}
_OWN: Final = ("content-type", "grpc-status", "grpc-message", "grpc-encoding", "te")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A block that a client sent."""

    malformed: str | None = None
    refusal: tuple[Status, str] | None = None  # well-formed, but not to be handled
    is_trailers: bool = False
    is_plain: bool = False  # HTTP, but not gRPC
    path: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_TRAILERS)
    timeout_s: float | None = None
    content_length: int = -1
    is_encoded: bool = False
    is_to_be_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A block that a server sent: its first, or trailers, or both in one."""

    malformed: str | None = None
    oversize: bool = False
    http_status: int = 0  # 0: trailers
    is_grpc: bool = False
    status: Status | None = None
    message: str = ""
    trailers: Mapping[str, str] = field(default_factory=lambda: NO_TRAILERS)
    content_length: int = -1
    # what nearly all are, told by one look:
    is_good_start: bool = False
    is_good_end: bool = False


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
        is_to_be_read=not plain and refusal is None,
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
    grpc = is_grpc(others.get("content-type", ""))
    return Answer(
        is_good_start=http_status == 200
        and grpc
        and status is None
        and length < 0
        and not oversize,
        is_good_end=not http_status and status is Status.OK and not oversize,
        oversize=oversize,
        http_status=http_status,
        is_grpc=grpc,
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
