"""Settings of a node that runs its instances as containers."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from libs.common.bounds import AtLeastOne, AtLeastZero, Factor, Seconds
from libs.common.otlp_settings import Pairs

DOCKER_COMMAND: Final = "python3 -P -m services.node.serve_triton --disable-auto-complete-config"
VOLUME: Final = r"volume:[a-zA-Z0-9][a-zA-Z0-9_.-]*"
BIND: Final = r"bind(:/\S*)?"


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return AfterValidator(check)


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from None
    if not words:
        raise ValueError("expected a command, such as tritonserver")
    return text


def _folders(text: str) -> str:
    for each in filter(None, map(str.strip, text.split(","))):
        path = PurePosixPath(each)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("expected folders below `root`, such as demo,tokenizers")
    return text


EngineUrl = Annotated[
    str, _matching(r"unix:///\S+|(tcp|https?)://[^/\s]+", "unix:///path or tcp://host:port")
]
Image = Annotated[str, _matching(r"[a-zA-Z0-9][\w.:/@-]*", "an image, such as name:tag")]
Network = Annotated[str, _matching(r"([a-zA-Z0-9][\w.-]*)?", "the name of a network, or nothing")]
Prefix = Annotated[
    str, _matching(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", "up to 24 of a-z, 0-9 and -")
]
User = Annotated[str, _matching(r"([\w.-]+(:[\w.-]+)?)?", "user or user:group, or nothing")]
Folders = Annotated[str, AfterValidator(_folders)]
Command = Annotated[str, AfterValidator(_command)]
RootSource = Annotated[
    str,
    _matching(rf"{BIND}|{VOLUME}|image", "bind, bind:/path, volume:name or image"),
]
StateSource = Annotated[str, _matching(rf"{BIND}|{VOLUME}", "bind, bind:/path or volume:name")]


# Without slots: beside another base that has some, Python would not take it.
@dataclass(frozen=True, kw_only=True)
class DockerSettings:
    """What runs a node's models, and with `driver: docker`, in which containers."""

    driver: Literal["process", "docker"] = "process"
    """What runs models: `process`, Tritons of its own; `docker`, [containers](containers.md)."""
    docker_host: EngineUrl = field(default="unix:///var/run/docker.sock", repr=False)
    """The engine's API, `unix:///path` or `tcp://host:port`."""
    docker_image: Image = "constellation-triton:dev"
    """Image of the containers; the engine must have it."""
    docker_command: Command = DOCKER_COMMAND
    """What runs in place of the image's entry point, before Triton's flags;
    `/opt/nvidia/nvidia_entrypoint.sh tritonserver` for [NGC's](containers.md#gpu-nodes)."""
    docker_network: Network = ""
    """The network that servers are on, too; empty: ports are published at `host`."""
    docker_root: RootSource = "bind"
    """[where the engine has](containers.md#what-they-see-of-the-node) what is below `root`: `bind`,
    `bind:/path`, `volume:name` or `image`."""
    docker_shared: Folders = ""
    """Folders below `root` that all instances see, as `demo,tokenizers`."""
    docker_state: StateSource = "bind"
    """Where the engine has what is below the state folder: `bind`, `bind:/path` or `volume:name`.
    """
    docker_prefix: Prefix = "constellation"
    """What names of containers begin with; tells one fleet on an engine from another."""
    docker_labels: Pairs = ""
    """Labels that the containers have besides."""
    docker_memory_factor: Factor = 4.0
    """Limit of memory, in times of the model's `resources.memory_mb`."""
    docker_memory_mb: AtLeastZero = 0
    """Limit of memory of models that do not say that; 0: none."""
    docker_shm_mb: AtLeastOne = 256
    """Shared memory of each container."""
    docker_user: User = ""
    """`user` or `user:group` that they run as, by name or number; empty: as the node does, so that
    they can read its files."""
    docker_read_only: bool = False
    """Whether they cannot write but to `/tmp`."""
    docker_call_s: Seconds = 30.0
    """For the engine to answer."""
