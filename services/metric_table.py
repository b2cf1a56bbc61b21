"""The tables of docs/metrics.md, made of the code that shows the metrics, by `make docs`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from libs.common.loop_lag import LoopLag
from libs.common.written_tables import with_table
from services.analytics import app as analytics
from services.certificate_expiry import CertificateExpiry
from services.control.metrics import ControlMetrics
from services.entry.metrics import EntryMetrics
from services.node.metrics import NodeMetrics
from services.scheduler.metrics import Metrics as SchedulerMetrics
from services.server.metrics import ServerMetrics
from services.spans import SpanExporters


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said of a metric."""

    name: str  # as a query has it; of a histogram without its endings
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names of its series."""
        if self.type != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{ending}" for ending in ("bucket", "sum", "count"))


def _analytics(registry: CollectorRegistry) -> None:
    analytics.build(analytics.Config(state_dir=Path()), registry=registry)  # opens nothing


SERVICES: Mapping[str, tuple[Callable[[CollectorRegistry], object], ...]] = {
    "Every process": (LoopLag, SpanExporters, CertificateExpiry),
    "Entry": (EntryMetrics,),
    "Server": (ServerMetrics,),
    "Node": (NodeMetrics,),
    "Control": (ControlMetrics,),
    "Scheduler": (SchedulerMetrics,),
    "Analytics": (_analytics,),
}


def all_metrics() -> dict[str, list[Told]]:
    """Return every metric there is, by the service that shows it."""
    return {
        service: [each for make in makers for each in _made_by(make)]
        for service, makers in SERVICES.items()
    }


def _made_by(make: Callable[[CollectorRegistry], object]) -> Iterator[Told]:
    registry = CollectorRegistry()
    make(registry)
    yield from map(_told, registry.collect())


def _told(family: Metric) -> Told:
    return Told(
        name=f"{family.name}_total" if family.type == "counter" else family.name,
        type=family.type,
        # Its public attributes have labels only where there are values.
        labels=tuple(getattr(family, "_labelnames", ())),
        meaning=family.documentation.removesuffix("."),
    )


def tables() -> str:
    """Return a table for each service, under its name."""
    return "\n".join(map(_table, all_metrics().items()))


def _table(service: tuple[str, list[Told]]) -> str:
    name, metrics = service
    head = f"## {name}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
    return head + "".join(map(_row, metrics))


def _row(told: Told) -> str:
    labels = ", ".join(told.labels)
    cells = f"`{told.name}`", told.type, labels, told.meaning.replace("|", r"\|")
    return f"| {' | '.join(cells)} |".replace("  |", " |") + "\n"


def main(path: Path) -> None:
    """Write the tables into a document."""
    path.write_text(with_table(path.read_text("utf-8"), tables()), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
