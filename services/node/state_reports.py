"""What others are told of instances: what each did every 15 s, and how each boot went.

The fields are those that the makers of Cog's runtime use, so that what reads theirs reads ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.spans import Spans, alone
from libs.common.world import World
from libs.common.world_map import Instance, Node, Report
from services.node.activity import Activity, Interval
from services.node.ports import SetupRun, Sink
from services.node.wanted import in_flight

SAMPLE_S: Final = 0.5  # between two looks; servers tell once a second how full they are
LOG_BYTES: Final = 20 * 1024  # of a boot's log, its end


class StateReports:
    """Watches a node's instances, and tells."""

    def __init__(
        self,
        *,
        me: Node,
        world: World,
        clock: Clock,
        spans: Spans,
        version: str,
        every_s: float,
        states: Sink | None = None,
        setups: Sink | None = None,
        image: str = "",
    ) -> None:
        """`states` and `setups` take what each instance did, and how each boot went, if given.

        `image` is what Tritons run from as containers; empty: they are processes.
        """
        self._me = me
        self._world = world
        self._clock = clock
        self._spans = spans
        self._version = version
        self._every_s = every_s
        self._states = states
        self._setups = setups
        self._image = image
        self._activities: dict[str, Activity] = {}
        self._seen: Mapping[str, Instance] = {}  # as it was at the last look

    def __repr__(self) -> str:
        return f"<StateReports {self._me.name} instances={len(self._activities)}>"

    async def run(self, report: Callable[[], Report]) -> None:
        """Look again and again, and tell every so often, until cancelled; then the rest."""
        if self._states is None:
            return
        due = self._clock.now() + self._every_s
        try:
            while True:
                self.look(report())
                now = self._clock.now()
                if now >= due:
                    self.tell()
                    due = now + self._every_s
                await asyncio.sleep(min(SAMPLE_S, self._every_s))
        finally:
            self.look(report())
            self.tell()

    def look(self, report: Report) -> None:
        """Take in what the instances are doing now; of those that are gone the rest is told."""
        now = self._clock.now()
        before, self._seen = self._seen, _instances(report)
        for id_ in before.keys() - self._seen.keys():
            self._tell(before[id_], self._activities.pop(id_))
        for id_, each in self._seen.items():
            activity = self._activities.setdefault(id_, Activity(now))
            level = in_flight(self._world, instance=id_, model=each.model, colo=each.colo)
            activity.saw(each.state, level, at=now)

    def tell(self) -> None:
        """Tell what each instance did since the last time."""
        for id_, instance in self._seen.items():
            self._tell(instance, self._activities[id_])

    def _tell(self, instance: Instance, activity: Activity) -> None:
        interval = activity.take(self._clock.now())
        if self._states is not None and interval.was_there:
            self._states.post(self._state(instance, interval))

    def ran(self, run: SetupRun) -> None:
        """Tell how a boot went."""
        is_triton = run.driver == "triton"
        logs = run.logs.encode()[-LOG_BYTES:].decode(errors="ignore")
        if self._setups is not None:
            self._setups.post(
                {
                    "status": run.status,
                    "started_at": rfc3339(run.started_ms),
                    "completed_at": rfc3339(run.completed_ms),
                    "logs": logs,
                    "instance_metadata": self._about(run.instance, run.model),
                    "runtime_metadata": {
                        "constellation_version": self._version,
                        "driver": "docker" if self._image and is_triton else run.driver,
                        "node": self._me.name,
                    },
                }
            )
        self._spans.emit(
            alone(
                "node.setupRun",
                began_ms=run.started_ms,
                ended_ms=run.completed_ms,
                error=run.error,
                attributes={
                    "setuprun.status": run.status,
                    "setuprun.duration_seconds": (run.completed_ms - run.started_ms) / 1000,
                    "setuprun.scheduled_to_setup_started": (run.started_ms - run.scheduled_ms)
                    / 1000,
                    "setuprun.scheduled_to_ready": (run.completed_ms - run.scheduled_ms) / 1000,
                    "setuprun.logs": logs,
                    **self._about(run.instance, run.model),
                },
            )
        )

    def _state(self, instance: Instance, interval: Interval) -> dict[str, Any]:
        model = self._world.table(Model).get(instance.model)
        gpus = model.resources.gpus if model else 0
        needs_gpu = bool(model and (gpus or model.resources.gpu_memory_mb))
        return {
            "active_time": interval.active_s,
            "boot_time": interval.boot_s,
            "idle_time": interval.idle_s,
            "metric_duration": interval.seconds,
            "utilization": interval.utilization,
            "mean_concurrency": interval.mean_concurrency,
            "deployment_key": instance.model,
            "docker_image_uri": "" if model and model.backend.command else self._image,
            "hardware": (self._me.gpu_model or "gpu") if needs_gpu else "cpu",
            "compute_unit": "gpu" if needs_gpu else "cpu",
            "compute_unit_count": gpus if needs_gpu else (model.resources.cpus if model else 0),
            "instance_id": instance.id,
            "instance_metadata": self._about(instance.id, instance.model),
            "version": self._version,
        }

    def _about(self, instance: str, model: str) -> dict[str, str]:
        me = self._me
        return {"instance": instance, "model": model, "node": me.name, "colo": me.colo}


def rfc3339(unix_ms: int) -> str:
    """Write a time as RFC 3339 has it, to the millisecond."""
    told = datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def _instances(report: Report) -> Mapping[str, Instance]:
    return {each.id: each for each in report.resources if isinstance(each, Instance)}
