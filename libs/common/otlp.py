"""Spans as the body of an export request of OTLP, in protobuf, which every collector takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from libs.common.spans import Attribute, Span

SCOPE = "constellation"
SAMPLED = 1


class ExportRequest:
    """One export request, to which spans are added."""

    def __init__(self, resource: Mapping[str, Attribute], version: str) -> None:
        self._message = ExportTraceServiceRequest()
        of_resource = self._message.resource_spans.add()
        of_resource.resource.attributes.extend(key_values(resource))
        self._spans = of_resource.scope_spans.add()
        self._spans.scope.name = SCOPE
        self._spans.scope.version = version

    def __repr__(self) -> str:
        return f"<ExportRequest {len(self._spans.spans)} spans>"

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans."""
        self._spans.spans.extend(map(to_otlp, spans))

    def body(self) -> bytes:
        """Return the bytes to be sent."""
        return self._message.SerializeToString()


def to_otlp(span: Span) -> pb.Span:
    """Return a span as the protocol has it."""
    message = pb.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        trace_state=span.state,
        flags=SAMPLED,
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]  # the same numbers
        start_time_unix_nano=span.began_ns,
        end_time_unix_nano=max(span.began_ns, span.ended_ns),
        attributes=key_values(span.attributes),
    )
    if span.has_failed:
        message.status.code = pb.Status.STATUS_CODE_ERROR
        message.status.message = span.error
    return message


def rejected_in(answer: bytes) -> tuple[int, str]:
    """Return how many spans a collector's answer says that it did not take, and why."""
    try:
        partly = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:  # some answer with nothing, or with words
        return 0, ""
    return partly.rejected_spans, partly.error_message


def key_values(attributes: Mapping[str, Attribute]) -> list[KeyValue]:
    """Return attributes as the protocol has them."""
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: Attribute) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=value)
