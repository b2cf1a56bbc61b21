"""Counts and histograms as plain integers, which become Prometheus' families only at a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from libs.common.cells import Cells

Labels: TypeAlias = tuple[str | int, ...]
Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily


class Counts(dict[Labels, int]):
    """One metric: `counts["ams", 200] += 1`, with a value for each of its labels.

    That costs 0.1 us, a twelfth of `counter.labels("ams", 200).inc()`. It takes no lock:
    who counts shares a thread, only who scrapes may be in another.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        kind: type[CounterMetricFamily] | type[GaugeMetricFamily] = CounterMetricFamily,
    ) -> None:
        super().__init__()
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._kind = kind

    def __repr__(self) -> str:
        return f"<Counts {self._name} {super().__repr__()}>"

    def __missing__(self, labels: Labels) -> int:
        return 0

    def add(self, labels: Labels, count: int) -> None:
        """Add what was counted elsewhere; nothing adds no labels."""
        if count:
            self[labels] += count

    def copied(self) -> Counts:
        """Return the same with the counts that there are now."""
        made = Counts(self._name, self._text, self._labels, kind=self._kind)
        # A copy is made in one step, while the thread that counts may add labels.
        made.update(self.copy())
        return made

    def empty(self) -> Family:
        """Return the family without its values: what it is, for who registers it."""
        return self._kind(self._name, self._text, labels=self._labels)

    def family(self, known: Iterable[Labels] = ()) -> Family:
        """Return the family as it is now; `known` labels are shown before anything is counted.

        Of a series that begins with 1, Prometheus does not see that it has grown: where the first
        one matters, there must be a 0 before it.
        """
        family = self.empty()
        values = dict.fromkeys(known, 0)
        # A copy is made in one step, while the thread that counts may add labels.
        values.update(self.copy())
        for labels, value in values.items():
            family.add_metric([str(label) for label in labels], value)
        return family


class Histogram(dict[Labels, Cells]):
    """One metric that is a distribution: `histogram["ams", "echo"]` has the cells of its labels.

    Who observes keeps the cells and adds to them, as with `Counts`.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, bounds: Sequence[float]
    ) -> None:
        super().__init__()
        self.bounds = tuple(bounds)
        self._name = name
        self._text = text
        self._labels = tuple(labels)

    def __repr__(self) -> str:
        return f"<Histogram {self._name} of {len(self)} labels>"

    def __missing__(self, labels: Labels) -> Cells:
        self[labels] = cells = Cells(self.bounds)
        return cells

    def empty(self) -> HistogramMetricFamily:
        """Return the family without its values."""
        return HistogramMetricFamily(self._name, self._text, labels=self._labels)

    def family(self) -> HistogramMetricFamily:
        """Return the family as it is now."""
        family = self.empty()
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        for labels, cells in self.copy().items():
            buckets = list(zip(bounds, accumulate(cells.counts), strict=True))
            family.add_metric([str(label) for label in labels], buckets, cells.sum)
        return family
