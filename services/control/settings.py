"""Control's times and bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long it waits, how often it writes, and how far a reader may fall behind."""

    grace_s: float = 5.0
    report_gone_s: float = 5.0
    silent_s: float = 5.0
    watch_bound: int = 1024
    share_keep_s: float = 30.0
    spent_s: float = 10.0
    node_forget_s: float = 3600.0
