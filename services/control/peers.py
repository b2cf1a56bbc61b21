"""What reporters say of their processes, and how old that is, for who asks how all are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.process import Peer
from libs.common.world_map import Report
from services.control.reporters import Reporter


@dataclass(slots=True)
class _Heard:
    report: Report
    at: float
    ahead_s: float
    fresh_at: float  # when what it acts on was last seen to follow


class Peers:
    """The last report of each, until it is forgotten."""

    def __init__(self) -> None:
        self._heard: dict[Reporter, _Heard] = {}

    def __repr__(self) -> str:
        return f"<Peers {len(self._heard)}>"

    def heard(self, report: Report, *, now: float, unix_ms: int, version: int) -> None:
        """Take a report; `version` is that of what control hands out."""
        reporter = Reporter(report.kind, report.name)
        before = self._heard.get(reporter)
        process = report.process
        ahead_s = (process.now_ms - unix_ms) / 1000 if process is not None else 0.0
        heard = _Heard(report, now, ahead_s, now)
        if before is not None and not _follows(before.report, report, version):
            heard.fresh_at = before.fresh_at
        self._heard[reporter] = heard

    def forget(self, reporter: Reporter) -> None:
        """Let go of one that is gone."""
        self._heard.pop(reporter, None)

    def all(
        self, reporting: Mapping[Reporter, bool], *, now: float, since: float
    ) -> tuple[Peer, ...]:
        """Return all that report, or should; of who has not, the silence counts from `since`."""
        return tuple(
            self._peer(each, is_reporting, now=now, since=since)
            for each, is_reporting in sorted(reporting.items())
        )

    def _peer(self, reporter: Reporter, is_reporting: bool, *, now: float, since: float) -> Peer:
        heard = self._heard.get(reporter)
        if heard is None:
            silent_s = now - since
            return Peer(
                kind=reporter.kind,
                name=reporter.name,
                is_reporting=is_reporting,
                silent_s=silent_s,
            )
        return Peer(
            kind=reporter.kind,
            name=reporter.name,
            colo=heard.report.colo,
            is_reporting=is_reporting,
            silent_s=now - heard.at,
            process=heard.report.process,
            ahead_s=heard.ahead_s,
            behind_s=heard.at - heard.fresh_at,
        )


def _follows(before: Report, report: Report, version: int) -> bool:
    """Whether what a reporter acts on is current, or newer than it was."""
    was, now = before.process, report.process
    if was is None or now is None:
        return True
    return now.world_version >= version or now.world_version > was.world_version
