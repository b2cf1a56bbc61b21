"""What is known of a cluster and of this machine: all that checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from libs.common.process import AnalyticsStatus, ControlStatus, Peer, Process
from libs.common.world import World
from libs.common.world_map import ShardLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The state folder here, and what holds it."""

    state_dir: Path
    holders: Mapping[str, int] = field(default_factory=dict)  # pids, by what runs: up, entry-edge
    left: Mapping[str, int] = field(default_factory=dict)  # pids of those that are gone
    loose: Mapping[Path, int] = field(default_factory=dict)  # secrets that others may read: modes
    disk_bytes: int = 0
    disk_free_bytes: int = 0
    taken_ports: tuple[int, ...] = ()  # of those that `up` would listen on
    mistakes: str = ""  # the first of the configuration, which keeps all from starting
    lacks_triton: bool = False  # though models of the catalog need it


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A cluster at a moment, as control and this machine tell it."""

    at_ms: int
    control: str  # its address
    unreachable: str = ""  # why control does not answer: nothing is known of the cluster then
    status: ControlStatus | None = None  # None: control's version does not say
    world: World = field(default_factory=World)
    earlier: Mapping[str, ShardLoad] = field(default_factory=dict)  # loads of some seconds before
    analytics: AnalyticsStatus | None = None  # of this machine
    analytics_away: str = ""  # why it does not answer, where it should
    machine: Machine | None = None

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Return all that report to control, or should."""
        return self.status.peers if self.status is not None else ()

    @property
    def versions(self) -> dict[str, list[str]]:
        """Return who runs, by version; older ones do not say which that is."""
        if self.status is None:
            return {}
        found = [(self.status.process.version, f"control {self.status.name}")]
        for each in self.peers:
            if each.is_reporting:
                version = each.process.version if each.process is not None else "older"
                found.append((version, f"{each.kind} {each.name}"))
        if self.analytics is not None:
            found.append((self.analytics.version, "analytics here"))
        versions: dict[str, list[str]] = {}
        for version, who in found:
            versions.setdefault(version, []).append(who)
        return versions

    @property
    def processes(self) -> dict[str, Process]:
        """Return every process once, by who is in it: several reporters may share one."""
        found: dict[tuple[str, int], Process] = {}
        names: dict[tuple[str, int], list[str]] = {}
        told = [(f"{p.kind} {p.name}", p.process) for p in self.peers if p.is_reporting]
        if self.status is not None:
            told.insert(0, (f"control {self.status.name}", self.status.process))
        for name, process in told:
            if process is not None:
                key = (process.host, process.started_ms)
                found[key] = process
                names.setdefault(key, []).append(name)
        return {", ".join(names[key]): process for key, process in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong."""

    what: str
    why: str  # it matters
    mend: str  # a command to paste, or what to do
    is_grave: bool = True  # calls suffer, or would soon; else it is good to know
