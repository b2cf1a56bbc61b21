"""What an OpenAI-compatible server's errors mean to us, by its statuses and bodies."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from libs.common.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelRefused,
    RequestError,
    Unavailable,
)
from services.server.errors import EndpointFull, InstanceLost

LONGEST_TEXT = 1000
# By status: the error, its words, and whether the model may have seen the request.
MEANINGS: Mapping[int, tuple[type[RequestError], str, bool]] = {
    401: (ModelFailed, "the server refuses our key", True),
    403: (ModelFailed, "the server refuses our key", True),
    404: (Unavailable, "the server has no such model: {text}", False),
    408: (DeadlineExceeded, "the model did not answer in time", True),
    429: (EndpointFull, "the server's own queue is full", False),
    502: (InstanceLost, "the instance was lost: {text}", True),
    503: (Unavailable, "the server cannot serve now: {text}", False),
    504: (DeadlineExceeded, "the model did not answer in time", True),
}
# How an event begins that is an error; of vLLM's two ways the older one is the second.
ERROR_EVENTS = (b'{"error"', b'{"object":"error"', b'{"object": "error"')


def error_of(status: int, body: bytes, *, adapter: str = "") -> RequestError:
    """Return the error that an answer of this status is."""
    text = words_of(body) or f"HTTP status {status}"
    if status == 404 and adapter:
        return ModelFailed(f"the server has no adapter {adapter}: {text}", sent=True)
    if status in MEANINGS:
        cls, words, sent = MEANINGS[status]
        return cls(words.replace("{text}", text), sent=sent)
    if 400 <= status < 500:
        return ModelRefused(text, sent=True)
    return ModelFailed(f"the model failed: {text}", sent=True)


def error_in(event: bytes, *, adapter: str = "") -> RequestError | None:
    """Return the error that an event of a stream tells, None for any other."""
    if not event.startswith(ERROR_EVENTS):
        return None
    status = 500
    with suppress(ValueError, TypeError, KeyError):
        told = _error(orjson.loads(event))
        status = int(told.get("code") or told.get("status_code") or status)
    error = error_of(status if 400 <= status < 600 else 500, event, adapter=adapter)
    error.sent = True
    return error


def words_of(body: bytes) -> str:
    """Return the message of an error's body, in any of the ways that there are."""
    try:
        told = _error(orjson.loads(body))
    except (ValueError, TypeError):
        return body[:LONGEST_TEXT].decode("utf-8", "replace").strip()
    text = told.get("message") or told.get("error") or told.get("detail") or ""
    return (text if isinstance(text, str) else orjson.dumps(text).decode())[:LONGEST_TEXT]


def _error(body: Any) -> Mapping[str, Any]:
    """Return the object that tells; TypeError where there is none."""
    if not isinstance(body, dict):
        raise TypeError("an error's body is an object")
    inner = body.get("error")
    return inner if isinstance(inner, dict) else body
