"""The scheduler's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from libs.common.catalog import Model
from libs.common.world_map import InstanceState
from services.scheduler.sizing import Sizing
from services.scheduler.usage import Key, Usage

STATES: Final[tuple[InstanceState, ...]] = get_args(InstanceState)


class Metrics:
    """What was measured and decided last, by model and region."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *more: str) -> Gauge:
            labels = ("model", "region", *more)
            return Gauge(f"ai_scheduler_{name}", text, labels, registry=registry)

        self._measured = gauge(
            "autoscaler_measured_utilization", "Demand per permit of the ready instances."
        )
        self._estimated = gauge(
            "autoscaler_estimated_utilization", "Mean demand of the tick per ready permit."
        )
        self._forecast = gauge(
            "autoscaler_forecast_utilization", "Demand forecast per ready permit."
        )
        self._required = gauge(
            "autoscaler_required_instances", "Instances that the forecast needs, within bounds."
        )
        self._requested = gauge("requested_instances", "Instances that there should be.")
        self._min = gauge("min_requested_instances", "Fewest instances allowed.")
        self._max = gauge("max_requested_instances", "Most instances allowed.")
        self._instances = gauge("instances", "Instances that there are.", "state")
        self._gauges = (
            *(self._measured, self._estimated, self._forecast, self._required),
            *(self._requested, self._min, self._max),
        )
        self.failed_ticks = Counter(
            "ai_scheduler_failed_ticks", "Ticks that an error ended.", registry=registry
        )
        self.tick_seconds = Histogram(
            "ai_scheduler_tick_seconds", "How long a tick took.", registry=registry
        )

    def show(self, sizings: Mapping[Key, Sizing], models: Mapping[str, Model]) -> None:
        """Show the last tick; models and regions that are gone go from here, too."""
        for gauge in self._gauges:
            gauge.clear()
        for key, each in sizings.items():
            permits = max(each.usage.running, 1) * models[key.model].permits.per_instance
            self._measured.labels(*key).set(each.usage.demand / permits)
            self._estimated.labels(*key).set(each.demand / permits)
            self._forecast.labels(*key).set(each.forecast / permits)
            self._required.labels(*key).set(each.requirement.instances)
            self._requested.labels(*key).set(each.desired)
            self._min.labels(*key).set(each.limits.min)
            self._max.labels(*key).set(each.limits.max)

    def show_instances(self, usage: Mapping[Key, Usage]) -> None:
        """Show what there is now."""
        self._instances.clear()
        for key, each in usage.items():
            for state in STATES:
                self._instances.labels(*key, state).set(each.instances.get(state, 0))
