"""The world map: colos, what runs in them, who owns which shard, and how full it is.

Together with the catalog and the accounts these are the resources that control
hands to everyone. Each has a `key`, unique among its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MinLen

from libs.common.bounds import AtLeastOne, AtLeastZero, NotNegative, UnixMs
from libs.common.catalog import Finetune, Model
from libs.common.limit_shares import Use
from libs.common.process import Process

InstanceState = Literal["booting", "ready", "draining", "failed"]
EndpointState = Literal["healthy", "backoff", "draining"]
ReporterKind = Literal["server", "entry", "node"]
Scope = Literal["run", "read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("run", "read", "write", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who pays and is limited."""

    id: str
    name: str = ""
    blocked: bool = False
    requests_per_minute: Mapping[str, AtLeastOne] = field(default_factory=dict)  # by task
    tokens_per_minute: AtLeastZero = 0  # 0: no limit
    neurons_per_day: NotNegative = 0.0  # 0: no limit
    created_at_ms: UnixMs = 0

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token of an account; only its SHA-256 is ever kept."""

    hash: str
    account: str
    name: str = ""
    max_priority: int = 9
    created_at_ms: int = 0
    expires_at_ms: int = 0
    scopes: tuple[Scope, ...] = SCOPES
    models: tuple[str, ...] = ()  # that it may run; none: all that its account may

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Neurons that an account has used on a day."""

    account: str
    day: int  # since 1970, UTC
    neurons: float

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.account


@dataclass(frozen=True, slots=True, kw_only=True)
class Colo:
    """A site: one place with machines."""

    name: Annotated[str, MinLen(1)]
    region: str = ""
    latitude: Annotated[float, Ge(-90), Le(90)] = 0.0
    longitude: Annotated[float, Ge(-180), Le(180)] = 0.0
    nodes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A live server, and where it answers; `local` when it is in this process."""

    name: str
    colo: str
    address: str
    boot_epoch: int = 0
    draining: bool = False

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Who owns one part of a model's endpoints in a colo."""

    model: str
    colo: str
    index: int
    owner: str
    epoch: int

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return shard_key(self.colo, self.model, self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLoad:
    """What a server says of one endpoint."""

    instance: str
    address: str
    state: EndpointState
    in_flight: int = 0
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLoad:
    """How full a shard is; the lower half are counters since the server's boot."""

    model: str
    colo: str
    index: int
    server: str
    boot_epoch: int = 0
    permits: int = 0
    free: int = 0
    in_flight: int = 0
    queued: int = 0
    endpoints: tuple[EndpointLoad, ...] = ()
    arrivals: int = 0
    done: int = 0
    service_s: float = 0.0
    waited_1s: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)  # by source colo
    forwarded: Mapping[str, int] = field(default_factory=dict)  # by source colo
    foreign: Mapping[str, int] = field(default_factory=dict)  # arrivals from other colos

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return shard_key(self.colo, self.model, self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryLoad:
    """What an entry has refused, as counters since its boot."""

    name: str
    colo: str
    boot_epoch: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)  # by model

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running copy of a model on a node, or an external endpoint of it."""

    id: str
    model: str
    colo: str
    node: str = ""
    address: str = ""
    state: InstanceState = "booting"
    external: bool = False
    boot_s: float = 0.0
    since_ms: int = 0
    message: str = ""

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of a colo, and what it has."""

    name: str
    colo: str
    cpus: float = 0.0
    memory_mb: int = 0
    gpus: int = 0
    gpu_memory_mb: int = 0  # of each of its GPUs
    weights: tuple[str, ...] = ()  # models whose files it holds
    gpu_model: str = ""
    provider: str = ""  # who runs the machine, if it is not ours
    away_since_ms: UnixMs = 0  # since when nothing is heard of its agent; 0: it reports

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """How many instances of a model a node should run: the scheduler's word."""

    node: str
    model: str
    instances: Annotated[int, Ge(0)]
    colo: str = ""  # the node's; empty where that was not known

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return f"{self.node}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Scaling bounds that an operator set by hand, until they expire (0: never)."""

    model: str
    region: str = ""  # empty: every region
    min: AtLeastZero | None = None
    max: AtLeastZero | None = None
    frozen: bool = False
    expires_at_ms: UnixMs = 0
    dry_run: bool = False  # decide, and say so, but change nothing

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return f"{self.model}@{self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the scheduler decided for a model in a region, and from what."""

    model: str
    region: str
    at_ms: int
    demand: float  # mean requests in flight and queued; what was refused or sent on counts, too
    forecast: float  # the demand that `required` covers
    running: int
    required: int
    desired: int
    reason: str = ""
    cause: str = ""  # tick, floor, change or wake: what made it due
    booting: int = 0
    queued: int = 0
    arrivals: float = 0.0  # of the last minute, as are those that were late
    late: float = 0.0
    service_s: float = 0.0
    saturated: float = 0.0  # share of the minute in which all permits were taken
    min: int = 0
    max: int = 0
    slo_late_share: float = 0.0
    late_share: float = 0.0  # expected with `required`
    boot_s: float = 0.0  # as measured, or the catalog's where nothing has booted yet
    price: float = 0.0  # instance-minutes that one late request is worth
    probabilities: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()  # of the largest demand until a later decision helps
    weights: Mapping[str, float] = field(default_factory=dict)  # of the forecast's experts
    placed: int = 0  # what the fleet was told, which is less where there is no room
    is_held: bool = False  # frozen or dry run: the fleet was told nothing

    @property
    def key(self) -> str:
        """What the snapshot files it under."""
        return f"{self.model}@{self.region}"


Resource = (
    Model
    | Finetune
    | Account
    | Token
    | Colo
    | Server
    | Shard
    | ShardLoad
    | EntryLoad
    | Instance
    | Node
    | Assignment
    | Override
    | Decision
    | Spent
)
KINDS: Mapping[str, type[Resource]] = {
    "model": Model,
    "finetune": Finetune,
    "account": Account,
    "token": Token,
    "colo": Colo,
    "server": Server,
    "shard": Shard,
    "shard_load": ShardLoad,
    "entry_load": EntryLoad,
    "instance": Instance,
    "node": Node,
    "assignment": Assignment,
    "override": Override,
    "decision": Decision,
    "spent": Spent,
}
KIND_OF = {cls: kind for kind, cls in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Ref:
    """Names a resource: its kind and key."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The first (`complete`) state of everything, or a change to it."""

    version: int
    complete: bool = False
    puts: tuple[Resource, ...] = ()
    deletes: tuple[Ref, ...] = ()

    @property
    def kinds(self) -> set[str]:
        """Of what kinds the resources are that it puts or deletes."""
        return {KIND_OF[type(each)] for each in self.puts} | {each.kind for each in self.deletes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that one reporter has to say now; replaces what it said before."""

    kind: ReporterKind
    name: str
    colo: str
    resources: tuple[Resource, ...]
    use: Use | None = None  # an entry's, of accounts' limits
    process: Process | None = None  # the reporter's


def shard_key(colo: str, model: str, index: int) -> str:
    """Return the key of a shard and of its load."""
    return f"{colo}/{index}/{model}"


def ref(resource: Resource) -> Ref:
    """Return the name of a resource."""
    return Ref(KIND_OF[type(resource)], resource.key)
