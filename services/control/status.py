"""How this control is, and how those are that report to it: what `constellation status` asks."""

from __future__ import annotations

from collections.abc import Callable

from libs.common.process import ControlStatus, Process
from services.control.service import Control


class StatusOf:
    """Called, it says how a control is now."""

    def __init__(
        self,
        control: Control,
        *,
        name: str,
        process: Callable[[], Process],
        tick_s: float,
    ) -> None:
        """`tick_s` is that of the scheduler in this process; 0: there is none."""
        self._control = control
        self._name = name
        self._process = process
        self._tick_s = tick_s

    def __repr__(self) -> str:
        return f"<StatusOf {self._name}>"

    def __call__(self) -> ControlStatus:
        control, process = self._control, self._process()
        return ControlStatus(
            name=self._name,
            process=process,
            active_since_ms=process.now_ms - round(1000 * control.active_s),
            has_standby=control.has_standby,
            watchers=control.watchers,
            mistakes=tuple(control.mistakes),
            peers=control.peers(),
            tick_s=self._tick_s,
        )
