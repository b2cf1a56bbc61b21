"""What many connections have to write, written in one turn of the loop."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libs.http1.outgoing import Outgoing

log = logging.getLogger("libs.http1")


class Flushes:
    """Flushes in the next turn who asks for it: one callback of the loop's, however many ask."""

    def __init__(self) -> None:
        self._asking: list[Outgoing] = []

    def __repr__(self) -> str:
        return f"<Flushes of {len(self._asking)}>"

    def add(self, outgoing: Outgoing, loop: asyncio.AbstractEventLoop) -> None:
        """Flush it soon."""
        if not self._asking:
            loop.call_soon(self._flush)
        self._asking.append(outgoing)

    def _flush(self) -> None:
        asking, self._asking = self._asking, []
        for each in asking:
            try:
                each.flush()
            except Exception:
                log.exception("%r cannot be written to", each)
