"""What the node's agent needs of those who run instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from libs.common.catalog import Resources

NOTHING: Final = Resources(cpus=0)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningInstance:
    """An instance that answers."""

    id: str
    model: str
    address: str  # host:port of its gRPC


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
