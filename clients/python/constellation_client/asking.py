"""What is asked: inputs become a body, and arguments become options."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

from constellation_client.connection import Settings
from constellation_client.pb import binding_pb2 as pb

Inputs: TypeAlias = Mapping[str, Any] | bytes | bytearray | memoryview
RAW = "application/octet-stream"
FIELDS = {  # of the request itself, by argument
    "request_id": "request_id",
    "session_affinity": "session",
    "traceparent": "traceparent",
    "idempotency_key": "idempotency_key",
    "content_type": "content_type",
}


class Options(TypedDict, total=False):
    """How a call is to be treated: the options of all fronts, in Python's spelling."""

    timeout: float | None  # seconds until the end; None: no bound of the client's
    reject_if_busy: bool
    max_queue_ms: int
    priority: int
    background: bool
    cost: int
    preferred_colo: str
    session_affinity: str
    first_part_ms: int
    idle_ms: int
    total_ms: int
    request_id: str
    idempotency_key: str
    traceparent: str
    content_type: str  # of inputs that are bytes


OPTION_NAMES = frozenset(Options.__annotations__) - FIELDS.keys() - {"timeout"}


def request_of(
    settings: Settings, model: str, inputs: Inputs, options: Mapping[str, Any]
) -> pb.RunRequest:
    """Return the request; TypeError for an argument that there is not."""
    told: dict[str, str] = {}
    fields: dict[str, str] = {}
    for name, value in options.items():
        if name in FIELDS:
            fields[FIELDS[name]] = value
        elif name in OPTION_NAMES:
            told[camel(name)] = str(value).lower() if isinstance(value, bool) else str(value)
        elif name != "timeout":
            raise TypeError(f"run() got an unexpected keyword argument {name!r}")
    if isinstance(inputs, Mapping):
        body = json.dumps(inputs, default=plain, ensure_ascii=False).encode()
    elif not isinstance(inputs, bytes | bytearray | memoryview):
        raise TypeError(
            'inputs: expected the fields of the model\'s task, such as {"prompt": "Hello"}, '
            f"or bytes, got {type(inputs).__name__}"
        )
    else:
        body = bytes(inputs)
        fields.setdefault("content_type", RAW)
    return pb.RunRequest(
        account=settings.account,
        model=model,
        body=body,
        options=told,
        source=settings.source,
        **fields,
    )


def plain(value: Any) -> str:
    """Write bytes within inputs as base64; TypeError for what is no JSON either."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"inputs: {type(value).__name__} is neither JSON nor bytes")


def camel(name: str) -> str:
    """Return an option's name as the other fronts write it."""
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)
