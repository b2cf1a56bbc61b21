"""What alerts, recording rules and dashboards ask Prometheus for, and which metrics that names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from services import metric_table

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
SCRAPED = {"job", "instance", "service"}  # labels that scraping gives
# What comes with any process or any Prometheus.
COMMON = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity", "colo", "model"},
    "process_start_time_seconds": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
}
SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|without|group_left|group_right)\s*\(([^)]*)\)")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


@dataclass(frozen=True)
class Query:
    """One expression, and where it stands."""

    where: str
    text: str

    def selectors(self) -> Iterator[tuple[str, set[str]]]:
        """The metrics that are named, with the labels that are asked for."""
        without = GROUPING.sub("", self.text)
        for name, labels in SELECTOR.findall(without):
            if name in known() or ":" in name or name.startswith(("constellation", "ai_", "gen_")):
                yield name, set(LABEL.findall(labels))

    def groupings(self) -> set[str]:
        """The labels that results keep, or are joined by."""
        found = GROUPING.findall(self.text)
        return {label.strip() for each in found for label in each.split(",") if label.strip()}


@cache
def known() -> dict[str, set[str]]:
    """The labels of every series that there may be."""
    told = [each for found in metric_table.all_metrics().values() for each in found]
    series = {name: set(each.labels) for each in told for name in each.series}
    buckets = {name: labels | {"le"} for name, labels in series.items() if name.endswith("_bucket")}
    return {**COMMON, **series, **buckets, **recorded()}


@cache
def rules(file: str) -> list[dict[str, Any]]:
    """All rules of a file."""
    groups = yaml.safe_load((PROMETHEUS / "rules" / file).read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def recorded() -> dict[str, set[str]]:
    """What recording rules make, with the labels that it has."""
    return {
        rule["record"]: {"colo", "gen_ai_request_model", "instance", "service"}
        for rule in rules("recording.yml")
    }


def alerts() -> list[dict[str, Any]]:
    return rules("alerts.yml")


@cache
def dashboard(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return board


def panels(path: Path) -> list[dict[str, Any]]:
    """All panels that show something."""
    return [each for each in dashboard(path)["panels"] if each["type"] != "row"]


def panel_queries(path: Path) -> list[Query]:
    return [
        Query(f"{path.stem}: {panel['title']}: {target['refId']}", target["expr"])
        for panel in panels(path)
        for target in panel["targets"]
    ]


def all_queries() -> dict[str, list[Query]]:
    """Every query, by where it stands."""
    return {
        "recording": [Query(rule["record"], rule["expr"]) for rule in rules("recording.yml")],
        "alerts": [Query(rule["alert"], rule["expr"]) for rule in alerts()],
        **{path.stem: panel_queries(path) for path in DASHBOARDS},
    }
