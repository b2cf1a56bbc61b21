"""Settings of a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from libs.common.bounds import (
    AtLeastOne,
    AtLeastZero,
    HttpUrl,
    Niceness,
    NotNegative,
    Seconds,
    SecondsOrNone,
)
from libs.common.hop_settings import HopSettings
from libs.common.otlp_settings import OtlpSettings
from services.node.docker_settings import DockerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(OtlpSettings, DockerSettings, HopSettings):
    """What starts and stops instances on a machine."""

    name: str
    """Unique among nodes."""
    colo: str
    """Where it is."""
    state_dir: Path
    """Always `--state-dir`."""
    root: Path
    """Always the folder above `--config`."""
    environment: Path
    """Triton's environment, as `make setup` makes it; unless told otherwise `.triton` beside the
    configuration's folder."""
    listen: str = ""
    """Where its Tritons listen in place of `host`, such as 0.0.0.0 in a container."""
    host: str = "127.0.0.1"
    """Where its Tritons listen and servers reach them."""
    detach: bool = False
    """Whether its Tritons outlive the agent; a node alone has `true` unless told otherwise."""
    step_s: Seconds = 0.25
    """How often it looks after its instances when nothing else wakes it."""
    report_s: Seconds = 1.0
    """How often it reports."""
    drain_s: SecondsOrNone = 30.0
    """Longest that an instance drains before it is stopped.

    All do where a node alone that is not `detach`ed ends.
    """
    longest_backoff_s: Seconds = 60.0
    """Longest wait before a failed instance is started again."""
    boot_s: Seconds = 60.0
    """For a Triton to be ready."""
    load_s: Seconds = 120.0
    """For a model to load."""
    stop_s: SecondsOrNone = 10.0
    """For a Triton to end, or a model to unload, before it is killed."""
    nice: Niceness = 10
    """How far its Tritons step back for the processes that take the requests where both use the
    same CPUs."""
    process_boot_s: Seconds = 600.0
    """For a [process](fleet.md#processes) to be ready."""
    fetches_at_once: AtLeastOne = 4
    """Uploaded finetunes that are fetched from control at the same time."""
    state_url: HttpUrl = field(default="", repr=False)
    """The `http(s)://` address that gets [what each instance did](fleet.md#what-others-are-told)
    every `state_s`; empty: nobody is told."""
    setup_url: HttpUrl = field(default="", repr=False)
    """The `http(s)://` address that gets [how each boot went](fleet.md#what-others-are-told);
    empty: nobody is told."""
    report_token: str = field(default="", repr=False)
    """The Bearer token for `state_url` and `setup_url`."""
    state_s: Seconds = 15.0
    """How often `state_url` is told."""
    reports_stop_s: SecondsOrNone = 5.0
    """For what `state_url` and `setup_url` are yet to be told as the node ends."""
    cpus: NotNegative | None = None
    """CPUs that the scheduler may count on; null: those that are found."""
    memory_mb: AtLeastZero | None = None
    """Memory that the scheduler may count on; null: what is found."""
    gpus: AtLeastZero | None = None
    """GPUs that the scheduler may count on; null: those that `nvidia-smi` tells."""
    gpu_memory_mb: AtLeastZero | None = None
    """Memory of each GPU, of the smallest where they differ."""
    gpu_model: str | None = None
    """What the GPUs are called."""
    provider: str = ""
    """Who runs the machine; empty: it is ours."""
