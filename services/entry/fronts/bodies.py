"""Bodies in and out: what is unpacked, and answers that any SDK parses."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from libs.common.errors import RequestError, TooLarge
from services.entry.bad_input import bad_input
from services.entry.tasks.base import Binary

JSON: Final = "application/json"
JSON_HEADER = ("Content-Type", f"{JSON}; charset=utf-8")
SHORTEST_RETRY_MS, LONGEST_RETRY_MS = 1_000, 60_000  # the SDKs ignore what is outside
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WINDOWS: Final = {
    "gzip": 31,
    "x-gzip": 31,
    "deflate": 15,
}  # zlib's words for what stands around the data
_UNREADABLE: Final = ("br", "zstd", "compress", "x-compress")
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def decoded(raw: bytes, encoding: str, *, limit: int) -> bytes:
    """Return a body without its Content-Encoding, whatever that word means if it is not ours.

    Raises TooLarge before more than the limit is in memory, BadInput for broken data and for
    an encoding that is not read here.
    """
    if encoding.lower() in _UNREADABLE:
        raise bad_input([], f"Content-Encoding {encoding} is not read here: gzip, deflate or none")
    window = _WINDOWS.get(encoding.lower())
    if window is None or not raw:
        return raw
    bare = window == _WINDOWS["deflate"] and raw[0] & 15 != zlib.DEFLATED  # as some clients do
    reader = zlib.decompressobj(-window if bare else window)
    try:
        plain = reader.decompress(raw, limit + 1)
    except zlib.error as error:
        raise bad_input([], f"cannot be read as {encoding}: {error}") from None
    if len(plain) > limit:
        raise too_large(limit)
    if not reader.eof:
        raise bad_input([], f"cannot be read as {encoding}: it is cut short")
    return plain


def too_large(limit: int) -> TooLarge:
    """Return the refusal of a body above the limit."""
    return TooLarge(f"Request too large: the limit is {limit} bytes")


def to_json(value: Any) -> bytes:
    """Write an answer; arrays of numpy become lists."""
    return orjson.dumps(value, None, orjson.OPT_SERIALIZE_NUMPY)


def written(result: Any) -> tuple[bytes, str]:
    """Return what a call is answered with, without an envelope, and its content type."""
    if isinstance(result, Binary):
        return result.content, result.content_type
    return to_json(result), JSON


def enveloped(result: Any) -> bytes:
    """Write the envelope of a success."""
    written = orjson.dumps(result, None, orjson.OPT_SERIALIZE_NUMPY)
    return b'{"result":' + written + b',"success":true,"errors":[],"messages":[]}'


def error_body(error: RequestError) -> dict[str, Any]:
    """Return the envelope of a failure and, beside it, the error as OpenAI's SDKs read it."""
    text = f"AiError: {error.code}: {error}"
    told: dict[str, Any] = {"code": error.code, "message": text, "reason": error.reason}
    if error.pointer:
        told["source"] = {"pointer": error.pointer}
    kind = _TYPES.get(error.http, "server_error" if error.http >= 500 else "invalid_request_error")
    param = error.pointer.lstrip("/").replace("/", ".") or None
    openai = {"message": text, "type": kind, "param": param, "code": error.reason}
    return {
        "result": None,
        "success": False,
        "errors": [told],
        "messages": [],
        "error": openai,
    }


def error_headers(error: RequestError) -> dict[str, str]:
    """Return what tells a client when, or whether, to try again."""
    headers = {}
    if after_ms := wait_ms(error):
        headers["Retry-After"] = str(math.ceil(after_ms / 1000))
        headers["retry-after-ms"] = str(after_ms)
    if error.should_retry is not None:  # else SDKs go by the status
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.http == 401:
        headers["WWW-Authenticate"] = "Bearer"
    headers.update(error.headers)
    return headers


def wait_ms(error: RequestError) -> int:
    """Return when a client is to try again, 0 where that is not a matter of time."""
    if error.http not in (429, 503):
        return 0
    return min(max(error.retry_after_ms, SHORTEST_RETRY_MS), LONGEST_RETRY_MS)


def client_id(value: str | None) -> str:
    """Return a client's own request id, empty where it is none that may be echoed."""
    return value if value and _CLIENT_ID.fullmatch(value) else ""


def sse(value: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + to_json(value) + b"\n\n"


SSE_DONE = b"data: [DONE]\n\n"
