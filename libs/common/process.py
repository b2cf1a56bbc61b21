"""A running process of ours, and how those that report to control are, as control sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PeerKind = Literal["server", "entry", "node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsWaiting:
    """Events on their way to analytics."""

    waiting: int = 0  # that analytics has not acknowledged
    spooled: int = 0  # of those, that are on disk alone
    spool_bytes: int = 0
    spool_most_bytes: int = 0  # 0: nothing is kept on disk
    dropped: int = 0  # given up since the start
    is_away: bool = False  # the last try to connect to analytics failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as it sees itself."""

    version: str
    started_ms: int
    now_ms: int  # by its own clock
    host: str = ""
    world_version: int = 0  # of what it acts on
    disk_bytes: int = 0  # of the file system with its state folder
    disk_free_bytes: int = 0
    files: int = 0  # open; 0: not known
    most_files: int = 0
    events: EventsWaiting | None = None  # None: it sends none
    certificate_ends_ms: int = 0  # of that which it shows to others of ours; 0: it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One that reports to control, or should."""

    kind: PeerKind
    name: str
    colo: str = ""  # empty: it has not reported to this control
    is_reporting: bool = True
    silent_s: float = 0.0  # since its last report
    process: Process | None = None  # None: its version does not say
    ahead_s: float = 0.0  # its clock before control's, less the report's way
    behind_s: float = 0.0  # since when what it acts on is older than what control hands out


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlStatus:
    """How control is, and who reports to it."""

    name: str
    process: Process
    active_since_ms: int
    has_standby: bool = False
    watchers: int = 0
    mistakes: tuple[str, ...] = ()  # in the catalog's files, so that the last good ones are served
    peers: tuple[Peer, ...] = ()
    tick_s: float = 0.0  # of the scheduler in its process; 0: there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """How one store of events is."""

    name: str
    waiting: int = 0  # events in line for it
    most_waiting: int = 0
    stored: int = 0
    trouble: str = ""  # why the last write failed


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsStatus:
    """How analytics is."""

    version: str
    started_ms: int
    connections: int = 0  # of sinks
    stores: tuple[StoreStatus, ...] = ()
