"""Which container an instance gets: what the engine is asked to create, worked out from values.

Everything is mounted where the agent has it, so that a path means the same inside. A container
sees its own model, its own adapters and nothing else of the node.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from libs.common.otlp_settings import pairs_in
from services.node.docker_settings import DockerSettings
from services.node.drivers.docker_gpus import GpuUse
from services.node.ports import InstanceSpec

FLEET: Final = "constellation.fleet"
NODE: Final = "constellation.node"
INSTANCE: Final = "constellation.instance"
SPEC: Final = "constellation.spec"
SETTINGS: Final = "constellation.settings"
GPUS: Final = "constellation.gpus"

HTTP, GRPC, METRICS = 8000, 8001, 8002  # Triton's own, as nobody else is in there
MB: Final = 2**20
CPU_SHARES: Final = 1024  # of one CPU
NAME_LENGTH: Final = 63  # of a name in DNS
NOT_OF_CONTAINERS: Final = ("driver", "docker_host", "docker_call_s")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the containers of a node are."""

    node: str
    root: Path  # of the catalog's paths
    state_dir: Path
    folder: Path  # below the state folder: a folder for each instance is in it
    host: str  # where ports are published
    user: str  # whom the agent runs as
    stop_seconds: float

    def instance_folder(self, instance_id: str) -> Path:
        """Return the folder that is one instance's own."""
        return self.folder / quote(instance_id, safe="")

    def repository(self, instance_id: str) -> Path:
        """Return the folder from which its Triton loads."""
        return self.instance_folder(instance_id) / "repository"


def container_for(
    spec: InstanceSpec, *, place: Place, settings: DockerSettings, use: GpuUse
) -> Json:
    """Return what the engine is asked to create for an instance."""
    return {
        "Image": settings.docker_image,
        "Entrypoint": shlex.split(settings.docker_command),
        "Cmd": _arguments(spec, place, use),
        "User": settings.docker_user or place.user,
        "Env": ["HOME=/tmp"],  # the user may have no home there
        "Labels": labels_of(spec, place=place, settings=settings, use=use),
        "Healthcheck": {"Test": ["NONE"]},  # the image's may be another program's
        "StopTimeout": round(place.stop_seconds),
        "ExposedPorts": {f"{port}/tcp": {} for port in (HTTP, GRPC)},
        "HostConfig": {
            "Mounts": list(mounts_of(spec, place=place, settings=settings)),
            "Init": True,  # reaps what a model leaves behind
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": settings.docker_read_only,
            "Tmpfs": {"/tmp": "exec,mode=1777"} if settings.docker_read_only else {},
            "ShmSize": settings.docker_shm_mb * MB,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
            **_limits(spec, settings),
            **_devices(use),
            **_reach(place, settings),
        },
    }


def name_of(instance_id: str, *, prefix: str) -> str:
    """Return the container's name, by which servers of its network find it: no two have one.

    As every start of an instance takes the same name, the engine itself refuses a second one.
    """
    digest = hashlib.blake2s(instance_id.encode(), digest_size=3).hexdigest()
    readable = re.sub(r"[^a-z0-9]+", "-", instance_id.lower()).strip("-")
    room = NAME_LENGTH - len(prefix) - len(digest) - 2
    return f"{prefix}-{readable[:room].rstrip('-')}-{digest}"


def labels_of(
    spec: InstanceSpec, *, place: Place, settings: DockerSettings, use: GpuUse
) -> dict[str, str]:
    """Return the labels, from which a later agent knows all that it must."""
    told = {
        "model": spec.model,
        "served_as": spec.served_as,
        "repository": str(spec.repository),
        "dedicated": spec.dedicated,
    }
    return {
        **pairs_in(settings.docker_labels),
        FLEET: settings.docker_prefix,
        NODE: place.node,
        INSTANCE: spec.id,
        SPEC: json.dumps(told),
        SETTINGS: settings_digest(settings, host=place.host),
        GPUS: json.dumps(asdict(use)),
    }


def spec_from(labels: Mapping[str, str]) -> tuple[InstanceSpec, GpuUse] | None:
    """Return what a container was made for; None: its labels are not ours."""
    try:
        told, use = json.loads(labels[SPEC]), json.loads(labels[GPUS])
        told["repository"] = Path(told["repository"])
        use["gpus"] = tuple(use["gpus"])
        return InstanceSpec(id=labels[INSTANCE], **told), GpuUse(**use)
    except (ValueError, TypeError, KeyError):
        return None


def settings_digest(settings: DockerSettings, *, host: str) -> str:
    """Return what changes when a container made now would be another one."""
    names = [each.name for each in fields(DockerSettings)]  # not what a class below adds
    told = {name: getattr(settings, name) for name in names if name not in NOT_OF_CONTAINERS}
    text = json.dumps(told | {"host": host}, sort_keys=True)
    return hashlib.blake2s(text.encode(), digest_size=8).hexdigest()


def mounts_of(spec: InstanceSpec, *, place: Place, settings: DockerSettings) -> Iterator[Json]:
    """Yield what the instance sees of the node, read-only, and where the engine has it."""
    shared = [each.strip() for each in settings.docker_shared.split(",") if each.strip()]
    seen = [spec.repository, *(place.root / each for each in shared)]
    targets = set()
    for path in seen:
        inside = path.is_relative_to(place.root)
        mount = _mount(path, settings.docker_root if inside else "bind", place.root)
        if mount and mount["Target"] not in targets:
            targets.add(mount["Target"])
            yield mount
    own = _mount(place.instance_folder(spec.id), settings.docker_state, place.state_dir)
    if own:
        yield own


def _mount(path: Path, source: str, base: Path) -> Json | None:
    """Return the mount of a path; `source` says where the engine has what is below `base`."""
    kind, _, where = source.partition(":")
    if kind == "image":
        return None
    if kind == "volume":  # as a whole: engines before 26 mount no part of one
        return {"Type": "volume", "Source": where, "Target": str(base), "ReadOnly": True}
    there = Path(where) / path.relative_to(base) if where else path
    return {"Type": "bind", "Source": str(there), "Target": str(path), "ReadOnly": True}


def _arguments(spec: InstanceSpec, place: Place, use: GpuUse) -> list[str]:
    return [
        f"--model-repository={place.repository(spec.id)}",
        "--model-control-mode=explicit",
        f"--load-model={spec.served_as}",  # one that fails to load ends the container
        f"--http-port={HTTP}",
        f"--grpc-port={GRPC}",
        f"--metrics-port={METRICS}",
        f"--exit-timeout-secs={round(place.stop_seconds)}",
        "--log-format=ISO8601",
        "--backend-config=python,shm-default-byte-size=1048576",
        *([] if use.gpus else ["--allow-gpu-metrics=false"]),
    ]


def _limits(spec: InstanceSpec, settings: DockerSettings) -> Json:
    """A bound on memory, as more of it harms others; CPUs are shared in proportion to needs."""
    limits: Json = {}
    needed = round(spec.resources.memory_mb * settings.docker_memory_factor)
    if memory_mb := needed or settings.docker_memory_mb:
        limits |= {"Memory": memory_mb * MB, "MemorySwap": memory_mb * MB}  # that is: no swap
    if spec.resources.cpus:
        limits["CpuShares"] = max(2, round(spec.resources.cpus * CPU_SHARES))
    return limits


def _devices(use: GpuUse) -> Json:
    if not use.gpus:
        return {}
    request = {
        "Driver": "nvidia",
        "DeviceIDs": [str(gpu) for gpu in use.gpus],
        "Capabilities": [["gpu"]],
    }
    return {"DeviceRequests": [request]}


def _reach(place: Place, settings: DockerSettings) -> Json:
    if settings.docker_network:
        return {"NetworkMode": settings.docker_network}
    published = [{"HostIp": place.host, "HostPort": ""}]  # any free one
    return {"PortBindings": {f"{port}/tcp": published for port in (HTTP, GRPC)}}
