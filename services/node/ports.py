"""What the node's agent needs of those who run instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from libs.common.catalog import Resources

BootStatus = Literal["ready", "failed", "canceled"]  # how it came to its end
NOTHING: Final = Resources(cpus=0)


class Sink(Protocol):
    """Where JSON is sent."""

    def post(self, body: Any) -> None:
        """Have it sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """An instance that should run."""

    id: str  # "ams-1/text_generation/0": unique in the fleet, stable
    model: str  # its name in the catalog
    served_as: str  # its name in Triton
    repository: Path  # the model's folder, with config.pbtxt and 1/
    dedicated: bool = False  # a process of its own, shared with no other model
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """Adapter name -> folder with adapter_config.json and adapter_model.safetensors."""
    resources: Resources = NOTHING  # what it needs of the node
    command: tuple[str, ...] = ()  # what starts it as a process; none: a Triton loads it
    ready_path: str = ""  # where the process answers with 200 once it serves; empty: it listens

    @property
    def driver(self) -> str:
        """What runs it."""
        return "process" if self.command else "triton"

    def differs_from(self, other: InstanceSpec) -> bool:
        """Whether it must be started anew to become that; adapters and needs are no reason."""
        return self._bare() != other._bare()

    def _bare(self) -> InstanceSpec:
        repository = Path() if self.command else self.repository.absolute()
        dedicated = bool(self.command) or self.dedicated
        return replace(
            self,
            repository=repository,
            dedicated=dedicated,
            adapters={},
            resources=NOTHING,
            ready_path="",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningInstance:
    """An instance that answers."""

    id: str
    model: str
    address: str  # host:port of its gRPC, or of its HTTP for a process
    log: str = field(default="", compare=False)  # the last of what its boot logged
    spec: InstanceSpec | None = field(default=None, compare=False)  # what was started, if known


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupRun:
    """One boot of an instance, from its start to its end."""

    instance: str
    model: str
    status: BootStatus
    scheduled_ms: int  # when it was first wanted here
    started_ms: int
    completed_ms: int
    driver: str
    error: str = ""
    logs: str = ""


class BootFailed(Exception):
    """An instance could not be started; carries the last of what its process logged."""

    def __init__(self, reason: str, *, log: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log

    def __str__(self) -> str:
        return f"{self.reason}\n{self.log}".rstrip()


class InstanceDriver(Protocol):
    """Runs instances in one way (a Triton, a process, a container)."""

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        """Bring the instance up and return when it is ready, or raise BootFailed.

        For one that runs already this only makes its adapters those of the spec.
        """

    async def stop(self, instance_id: str) -> None:
        """Bring the instance down at once (draining is the caller's); an unknown one is fine."""

    async def running(self) -> Mapping[str, RunningInstance]:
        """What lives now, by id: adopted ones included, dead ones not."""

    def why_died(self, instance_id: str) -> str:
        """Return what is known of the end of an instance that lived; asked once of each."""
