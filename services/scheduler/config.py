"""The scheduler's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from libs.common.bounds import AtLeastOne, NotNegative, Seconds, SecondsOrNone
from libs.common.databases import StoreUrl
from libs.common.otlp_settings import OtlpSettings
from services.scheduler.fleets.nodes import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(OtlpSettings):
    """How many instances there are, and where."""

    state_dir: Path = Path(".constellation")
    """Always `--state-dir`."""
    tick_s: Seconds = 60.0
    """How often it decides anew about each model in each region."""
    floor_s: Seconds = 5.0
    """How often it looks in between whether the last seconds need more."""
    measure_s: Seconds = 1.0
    """How often it looks at the demand."""
    dry_run: bool = False
    """Decide and say so, and change nothing."""
    node_away_s: SecondsOrNone = 30.0
    """After so long without a report of a node nothing new is placed there."""
    node_gone_s: SecondsOrNone = 300.0
    """After so long without a report what no server reaches on a node is placed elsewhere."""
    store_url: StoreUrl = field(default="", repr=False)
    """SQLAlchemy address of its store; empty: the database of control, or `scheduler.db` in the
    state folder where that is a SQLite."""
    save_s: Seconds = 300.0
    """Between two saves of what it knows of a model in a region."""
    keep_decisions_days: NotNegative = 7.0
    """How long decisions are kept."""
    keep_decisions: AtLeastOne = 1_000_000
    """How many decisions are kept at most."""
    keep_series_days: NotNegative = 30.0
    """How long it remembers models that are gone."""

    @property
    def patience(self) -> Patience:
        """Return how long nodes may be silent."""
        return Patience(away_s=self.node_away_s, gone_s=max(self.node_away_s, self.node_gone_s))
