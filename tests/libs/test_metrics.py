"""Counts: integers that look like prometheus_client's own counters at a scrape."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client import Histogram as LibraryHistogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.metrics import Counts, Histogram


class One(Collector):
    """Shows one count."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def describe(self) -> Iterator[Metric]:
        yield self.counts.empty()

    def collect(self) -> Iterator[Metric]:
        yield self.counts.family()


def shown(counts: Counts) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(One(counts))
    return registry


def test_labels_that_are_known_have_a_zero_before_anything_is_counted() -> None:
    counts = Counts("pings", "Pings.", ("colo",))
    counts[("ams",)] += 2

    family = counts.family([("ams",), ("iad",)])

    assert {each.labels["colo"]: each.value for each in family.samples} == {"ams": 2, "iad": 0}


def test_before_any_count_only_the_name_and_the_help_are_shown() -> None:
    text = generate_latest(shown(Counts("pings", "Pings.", ("colo",)))).decode()

    assert text == "# HELP pings_total Pings.\n# TYPE pings_total counter\n"


def test_a_value_belongs_to_its_labels() -> None:
    counts = Counts("pings", "Pings.", ("colo", "status"))
    registry = shown(counts)

    counts["ams", 200] += 1
    counts["ams", 200] += 2
    counts["fra", 200] += 0

    value = registry.get_sample_value
    assert value("pings_total", {"colo": "ams", "status": "200"}) == 3
    assert value("pings_total", {"colo": "fra", "status": "200"}) == 0
    assert value("pings_total", {"colo": "lhr", "status": "200"}) is None


def test_asking_for_a_value_that_is_not_there_adds_none() -> None:
    counts = Counts("pings", "Pings.", ("colo",))

    assert counts[("ams",)] == 0
    assert repr(counts) == "<Counts pings {}>"


def test_a_gauge_goes_down_too() -> None:
    counts = Counts("running", "Running.", ("colo",), kind=GaugeMetricFamily)

    counts[("ams",)] += 1
    counts[("ams",)] -= 1

    assert b'running{colo="ams"} 0.0' in generate_latest(shown(counts))


@pytest.mark.parametrize(
    "label",
    ['"', "\\", "a\nb", "", "{}", "ünï \U0001f600", "@cf/demo/text-generation"],
    ids=["quote", "backslash", "line feed", "empty", "braces", "no ASCII", "a model"],
)
def test_odd_labels_are_written_as_prometheus_client_writes_them(label: str) -> None:
    counts = Counts("pings", "Pings.", ("colo", "status"))
    counts[label, 200] += 1
    theirs = CollectorRegistry()
    counter = Counter("pings", "Pings.", ("colo", "status"), registry=theirs)
    counter.labels(label, 200).inc()

    def lines(registry: CollectorRegistry) -> list[bytes]:
        return [each for each in generate_latest(registry).split(b"\n") if b"_created" not in each]

    assert lines(shown(counts)) == lines(theirs)


def test_a_name_is_registered_once() -> None:
    registry = shown(Counts("pings", "Pings.", ("colo",)))

    with pytest.raises(ValueError, match="Duplicated"):
        Counter("pings", "Pings.", registry=registry)


class Three(Collector):
    """Shows one histogram."""

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram

    def collect(self) -> Iterator[Metric]:
        yield self.histogram.family()


def test_a_histogram_looks_like_the_librarys_own() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bounds = (0.005, 0.1, 2.5, 10.0)
    histogram = Histogram("wait_seconds", "Waits.", ("colo",), bounds=bounds)
    ours.register(Three(histogram))
    library = LibraryHistogram("wait_seconds", "Waits.", ["colo"], buckets=bounds, registry=theirs)

    for value in (0.0, 0.005, 0.0051, 0.1, 3.0, 10.0, 99.0):
        histogram["ams",].observe(value)
        library.labels("ams").observe(value)

    expected = generate_latest(theirs).decode().splitlines()
    created = [line for line in expected if "_created" in line]
    assert generate_latest(ours).decode().splitlines() == [
        line for line in expected if line not in created
    ]
