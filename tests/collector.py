"""A collector of spans over real connections: it reads OTLP with the protocol's own classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as PbSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.waiting import until

INTERNAL, SERVER, CLIENT = (
    PbSpan.SPAN_KIND_INTERNAL,
    PbSpan.SPAN_KIND_SERVER,
    PbSpan.SPAN_KIND_CLIENT,
)


@dataclass(frozen=True)
class Seen:
    """A span as it came, with the resource that told of it."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    has_failed: bool
    resource: dict[str, Any]

    @property
    def traceparent(self) -> str:
        """Return it as others refer to it."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def holds(self, other: Seen) -> bool:
        """Whether the other is its child, and within it in time."""
        return (other.trace_id, other.parent_id) == (
            self.trace_id,
            self.span_id,
        ) and self.began_ns <= other.began_ns <= other.ended_ns <= self.ended_ns


class Collector:
    """Takes export requests, answers as told and then with 200."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[int] = []
        self.rejects = 0  # spans of the next request that it takes
        self.requests: list[int] = []  # how many spans each had
        self.headers: list[dict[str, str]] = []
        self.spans: list[Seen] = []

    async def take(self, request: web.Request) -> web.Response:
        """Take one export request."""
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        status = self.answers.pop(0) if self.answers else 200
        if status != 200:
            return web.Response(status=status)
        spans = _read(await request.read())
        self.requests.append(len(spans))
        self.spans += spans
        answer = ExportTraceServiceResponse()
        if self.rejects:
            answer.partial_success.rejected_spans, self.rejects = self.rejects, 0
            answer.partial_success.error_message = "too old"
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")

    async def traces(self, count: int) -> list[Seen]:
        """Wait until so many spans have come, and return them by their beginnings."""
        await until(lambda: len(self.spans) >= count)
        return sorted(self.spans, key=lambda each: (each.began_ns, -each.ended_ns))


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Listen while inside."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with TestServer(app) as server:
        collector.url = str(server.make_url("/")).rstrip("/")
        yield collector


def _read(body: bytes) -> list[Seen]:
    return [
        Seen(
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            state=span.trace_state,
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            attributes=values_of(span.attributes),
            has_failed=span.status.code == Status.STATUS_CODE_ERROR,
            resource=values_of(of_resource.resource.attributes),
        )
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def values_of(attributes: Any) -> dict[str, Any]:
    """Return attributes as plain values."""

    def value(each: KeyValue) -> Any:
        return getattr(each.value, str(each.value.WhichOneof("value")))

    return {each.key: value(each) for each in attributes}
