"""What many connections have to write, written in one turn."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from libs.eager import Turns, turns_of

if TYPE_CHECKING:
    from libs.http1.outgoing import Outgoing

log = logging.getLogger("libs.http1")


class Flushes:
    """Flushes soon who asks for it: one turn, however many ask."""

    def __init__(self) -> None:
        self._asking: list[Outgoing] = []
        self._turns: Turns | None = None  # of the loop of the first who asks

    def __repr__(self) -> str:
        return f"<Flushes of {len(self._asking)}>"

    def add(self, outgoing: Outgoing, loop: asyncio.AbstractEventLoop) -> None:
        """Flush it soon."""
        if not self._asking:
            self._turns = self._turns or turns_of(loop)
            self._turns.ask(self._flush)
        self._asking.append(outgoing)

    def _flush(self) -> None:
        asking, self._asking = self._asking, []
        for each in asking:
            try:
                each.flush()
            except Exception:
                log.exception("%r cannot be written to", each)
