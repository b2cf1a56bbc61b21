"""Where the parts of a deployment are, as its settings say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from libs.common.config import ConfigFile
from services.analytics.config import Config as AnalyticsConfig
from services.backup.manifest import CannotBackUp
from services.control.config import Config as ControlConfig
from services.scheduler.config import Config as SchedulerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Files and folders of this machine; None: it is elsewhere, and `elsewhere` says where."""

    state_dir: Path
    config_dir: Path
    control: Path | None
    scheduler: Path | None
    assets: Path
    events: Path | None
    elsewhere: tuple[str, ...] = ()


def sources(config: ConfigFile, *, state_dir: Path, config_dir: Path) -> Sources:
    """Return where everything is."""
    control = config.settings("control", ControlConfig, state_dir=state_dir)
    scheduler = config.settings("scheduler", SchedulerConfig, state_dir=state_dir)
    analytics = config.settings("analytics", AnalyticsConfig, state_dir=state_dir)
    controls = _file(control.store_url, state_dir / "control.db", "control.store_url")
    # As scheduler.build_memory has it: with control's database, unless that is a file.
    default = state_dir / "scheduler.db" if controls else None
    schedulers = default
    if scheduler.store_url:
        schedulers = _file(scheduler.store_url, state_dir / "scheduler.db", "scheduler.store_url")
    elsewhere = []
    if controls is None:
        elsewhere.append(f"control's store: {_shown(control.store_url)}")
    if schedulers is None:
        at = _shown(scheduler.store_url or control.store_url)
        elsewhere.append(f"the scheduler's store: {at}")
    others = [name for name in analytics.stores if name != "duckdb"]
    if others:
        elsewhere.append(f"events in {' and '.join(others)}")
    return Sources(
        state_dir=state_dir,
        config_dir=config_dir,
        control=controls,
        scheduler=schedulers,
        assets=control.assets or state_dir / "assets",
        events=analytics.store_file if "duckdb" in analytics.stores else None,
        elsewhere=tuple(elsewhere),
    )


def _file(url: str, default: Path, setting: str) -> Path | None:
    """Return the file of a SQLite, None for another database."""
    if not url:
        return default
    try:
        parts = make_url(url)
    except ArgumentError as error:
        raise CannotBackUp(f"{setting}: {error}") from error
    if not parts.drivername.startswith("sqlite"):
        return None
    return Path(parts.database or "")


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
