"""The way of each service's spans to its collector, for whichever process runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from libs.common.clients.otlp import OtlpExporter
from libs.common.metrics import Counts
from libs.common.otlp_settings import OtlpSettings, pairs_in
from libs.common.spans import Spans


class SpanExporters(Collector):
    """Makes them, and shows what became of the spans of all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = Counts(
            "constellation_spans",
            "Spans for a collector: sent, dropped (it was away, or too many waited), rejected.",
            ("service", "outcome"),
        )
        registry.register(self)

    def __repr__(self) -> str:
        return f"<SpanExporters {self._counts!r}>"

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields."""
        yield self._counts.empty()

    def collect(self) -> Iterator[Metric]:
        """Show every count as it is now."""
        yield self._counts.family()

    async def enter(
        self, stack: AsyncExitStack, config: OtlpSettings, *, service: str, name: str
    ) -> Spans | None:
        """Return where the spans of a service go until the stack is left; None: nowhere.

        What is entered later may still have spans as it leaves.
        """
        if not config.otlp:
            return None
        told = version("constellation-inference")
        resource = {
            "service.name": f"constellation-{service}",
            "service.instance.id": name,
            "service.version": told,
            **pairs_in(config.otlp_attributes),
        }
        exporter = OtlpExporter(
            config.traces_url,
            resource=resource,
            version=told,
            counts=self._counts,
            headers=pairs_in(config.otlp_headers),
            bound=config.otlp_spans,
            timeout_s=config.otlp_timeout_s,
        )
        return await stack.enter_async_context(exporter)
