"""Spans of OpenTelemetry, written as OTLP's JSON: for the few things that are no request.

The protocol's JSON form is stable and a page long, so it is written here rather than
by an SDK, which has threads and a queue of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

Attribute = str | bool | int | float
PATH: Final = "/v1/traces"  # beside OTLP's address
INTERNAL: Final = 1  # the span's kind
WENT_WELL: Final = 1
FAILED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took a while."""

    name: str
    began_ms: int  # since 1970
    ended_ms: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str = ""  # why it failed; empty: it went well


class Sink(Protocol):
    """Where JSON is sent."""

    def post(self, body: Any) -> None:
        """Have it sent."""
        ...


class Tracer:
    """Hands a service's spans to a collector; without one, drops them."""

    def __init__(self, service: str, sink: Sink | None) -> None:
        self._service = service
        self._sink = sink

    def __repr__(self) -> str:
        return f"<Tracer {self._service} {'off' if self._sink is None else 'on'}>"

    def emit(self, span: Span) -> None:
        """Have it sent, as a trace of its own."""
        if self._sink is not None:
            self._sink.post(to_otlp(span, service=self._service))


def to_otlp(span: Span, *, service: str) -> dict[str, Any]:
    """Write a span as the body of an export request."""
    status = {"code": FAILED, "message": span.error} if span.error else {"code": WENT_WELL}
    written = {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": str(span.began_ms * 1_000_000),
        "endTimeUnixNano": str(span.ended_ms * 1_000_000),
        "attributes": _attributes(span.attributes),
        "status": status,
    }
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": service})},
                "scopeSpans": [{"scope": {"name": "constellation"}, "spans": [written]}],
            }
        ]
    }


def _attributes(values: Mapping[str, Attribute]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Attribute) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}  # 64 bits do not fit JSON's numbers
        case float():
            return {"doubleValue": value}
        case _:
            return {"stringValue": value}
