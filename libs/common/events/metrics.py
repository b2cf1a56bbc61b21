"""A sink's Prometheus metrics: the plain counts, read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.events.sinks import UnixSocketSink
from libs.common.events.spool import SpoolCounts

LABELS = ("server",)
COUNTS: tuple[tuple[str, str, Callable[[UnixSocketSink], int]], ...] = (
    ("connect_err", "Connections to the collector that failed.", lambda s: s.counts.connect_err),
    (
        "write_err",
        "Connections to the collector that broke, or whose acknowledgements stayed away.",
        lambda s: s.counts.write_err,
    ),
    ("ok", "Events that the collector has stored.", lambda s: s.counts.ok),
    (
        "dropped",
        "Events given up: slots, spool and `events_pending` were full.",
        lambda s: s.counts.dropped,
    ),
    ("replayed", "Events sent that were read from the spool.", lambda s: _spool(s).replayed),
    ("corrupt", "Broken records of the spool, which are skipped.", lambda s: _spool(s).corrupt),
    (
        "torn",
        "Segments of the spool that ended within a record, which is cut.",
        lambda s: _spool(s).torn,
    ),
    ("spool_err", "Times that the disk refused the spool something.", lambda s: _spool(s).errors),
)
GAUGES: tuple[tuple[str, str, Callable[[UnixSocketSink], int]], ...] = (
    ("waiting", "Events that the collector has not acknowledged.", lambda s: s.waiting),
    (
        "spooled",
        "Of those, events that are on disk alone: the collector is away, or slower than they come.",
        lambda s: s.spool.unread_events if s.spool else 0,
    ),
    ("spool_bytes", "Size of the spool.", lambda s: s.spool.bytes if s.spool else 0),
)


class SinkMetrics(Collector):
    """What the sinks of this process have done, and what waits in them."""

    def __init__(self, registry: CollectorRegistry, *, prefix: str) -> None:
        self._prefix = prefix
        self._sinks: list[UnixSocketSink] = []
        registry.register(self)

    def watch(self, sink: UnixSocketSink) -> None:
        """Show one more sink at each scrape."""
        self._sinks.append(sink)

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        for kind, rows in ((CounterMetricFamily, COUNTS), (GaugeMetricFamily, GAUGES)):
            for name, text, read in rows:
                family = kind(self._prefix + name, text, labels=LABELS)
                for sink in self._sinks:
                    family.add_metric([sink.server], read(sink))
                yield family


def _spool(sink: UnixSocketSink) -> SpoolCounts:
    return sink.spool.counts if sink.spool else SpoolCounts()
