"""Control's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname

from libs.common.bounds import Address, AtLeastOne, AtLeastZero, FileSize, Seconds, SecondsOrNone
from libs.common.databases import StoreUrl
from libs.common.hop_settings import HopSettings
from services.control.finetunes import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(HopSettings):
    """The store, the world map and who owns which shard; in the process of the scheduler."""

    name: str = "scheduler"
    """Unique among the schedulers on one store, the same after a restart."""
    state_dir: Path = Path(".constellation")
    """Always `--state-dir`."""
    listen: Address = "127.0.0.1:7100"
    """Where it listens besides `control.sock`; empty: nowhere else."""
    store_url: StoreUrl = field(default="", repr=False)
    """SQLAlchemy address of the store; empty: `control.db` in the state folder;
    `postgresql+pg8000://user@host/name` has the driver that `pip install
    constellation-inference[postgres]` brings."""
    token: str = field(default="", repr=False)
    """The default account's token; empty: made at the first start."""
    catalog_dir: Path | None = None
    """The catalog's folder, whose changes are taken up while control runs; always `--config`."""
    catalog_s: Seconds = 1.0
    """How often it looks for changes in `catalog_dir`; one counts once two looks found the same."""
    grace_s: SecondsOrNone = 5.0
    """Longest wait, after its start, for those that it knew in colos that there still are."""
    report_gone_s: SecondsOrNone = 5.0
    """After its report stream is lost, a server or an entry is forgotten."""
    silent_s: Seconds = 5.0
    """A report stream on which nothing comes for so long is lost."""
    watch_bound: AtLeastOne = 1024
    """Changes that a reader may be behind before it must start again."""
    node_forget_s: SecondsOrNone = 3600.0
    """After so long without a report a node is forgotten, if nothing is assigned or serves there;
    until then it is shown as away."""
    share_keep_s: Seconds = 30.0
    """How long an entry that is cut off keeps its shares of accounts' limits; then it has an even
    part of each."""
    spent_s: Seconds = 10.0
    """Between two writes of the neurons that accounts have used today; a kill -9 forgets what was
    used since."""
    drain_s: SecondsOrNone = 1.0
    """For calls in flight, on leaving."""
    lease_s: Seconds = 5.0
    """After so long without a sign of the active scheduler, [a standby](operating.md#a-standby)
    takes over."""
    lease_try_s: Seconds = 1.0
    """How often a standby looks."""
    assets: Path | None = None
    """The folder of uploaded files; none: `assets` in the state folder."""
    finetunes_per_account: AtLeastZero = 30
    """Finetunes that an account may make."""
    max_adapter_bytes: FileSize = 500_000_000
    """Largest `adapter_model.safetensors`."""
    uploads_at_once: AtLeastOne = 16
    """Files that may be uploaded at the same time."""
    keep_free_mb: AtLeastZero = 256
    """Of the disk that uploads must leave free."""
    events: Path | None = None
    """The collector's socket on this machine (`events.sock` of a state folder), which is told of
    [endpoints that come and go](operating.md#usage-and-events); none: nobody is told."""

    @property
    def holder(self) -> str:
        """Return who holds the lease: the same after a restart, and locked by the state folder."""
        return f"{self.name} on {gethostname()} in {self.state_dir.absolute()}"

    @property
    def finetune_limits(self) -> Limits:
        """Return what finetunes may cost."""
        return Limits(
            per_account=self.finetunes_per_account,
            largest_bytes=self.max_adapter_bytes,
            uploads_at_once=self.uploads_at_once,
        )
