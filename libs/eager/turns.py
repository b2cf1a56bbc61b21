"""What is to be done once all is taken in that was read just now: many's writes, in one go.

A loop that reads calls `data_received`; whoever is written to by it asks for a turn, and has it
at its end. Nothing is put off into the loop's next round, which would cost more than most turns;
and where rounds cost more than what they bring, the loop rests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

LEISURE_S: Final = 0.001  # for so long one thing that can wait does so, if it is alone
log = logging.getLogger(__name__)


class Turns:
    """Calls back at the end of what is being read, else in the loop's next round."""

    __slots__ = ("_after", "_depth", "_is_coming", "_leisure", "_loop", "_resting", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._depth = 0  # of reads within reads
        self._waiting: list[Callable[[], object]] = []
        self._after: list[Callable[[], object]] = []  # until nobody waits
        self._is_coming = False  # the loop is going to call
        self._leisure: asyncio.TimerHandle | None = None  # for one that waits alone
        self._resting = False

    def __repr__(self) -> str:
        return f"<Turns {len(self._waiting)} waiting>"

    def begin(self) -> None:
        """Something is being read; `end` must come, whatever happens."""
        self._depth += 1

    def end(self) -> None:
        """It was taken in: those who asked have their turns."""
        self._depth -= 1
        if not self._depth and (self._waiting or self._after):
            self._take()

    def ask(self, callback: Callable[[], object]) -> None:
        """Call back soon."""
        self._waiting.append(callback)
        if not self._depth and not self._is_coming:
            self._is_coming = True
            self._loop.call_soon(self._come)

    def after(self, callback: Callable[[], object]) -> None:
        """Call back once all who ask have had their turns; now, if nothing is being read.

        One that is alone has a moment of its own, so that the loop sleeps first and leaves its
        CPU to who was just written to. Several are called at once: together they cost least.
        """
        if self._depth:
            self._after.append(callback)
        else:
            callback()

    def settle(self) -> None:
        """Call what waits for a moment of its own: the loop is about to end."""
        if self._leisure is not None:
            self._leisure.cancel()
            self._at_leisure()

    def rest(self, seconds: float) -> None:
        """Stop the loop for so long, once what was written is sent; what comes meanwhile waits."""
        if not self._resting:
            self._resting = True
            self._loop.call_soon(self._rest, seconds)

    def _rest(self, seconds: float) -> None:
        self._resting = False
        time.sleep(seconds)

    def _come(self) -> None:
        self._is_coming = False
        self._take()

    def _take(self, spared: int = 1) -> None:
        """Call all; so many that can wait are spared."""
        self._depth += 1  # who asks meanwhile has a turn, too
        try:
            while self._waiting or len(self._after) > spared:
                if self._waiting:
                    called, self._waiting = self._waiting, []
                else:
                    called, self._after = self._after, []
                call_each(called)
        finally:
            self._depth -= 1
        if self._after and self._leisure is None:
            self._leisure = self._loop.call_later(LEISURE_S, self._at_leisure)

    def _at_leisure(self) -> None:
        self._leisure = None
        self._take(spared=0)


def call_each(callbacks: list[Callable[[], object]]) -> None:
    """Call all of them: a mistake of one's owner is logged, and takes nothing from the others."""
    for each in callbacks:
        try:
            each()
        except (Exception, asyncio.CancelledError):
            log.exception("%r failed", each)


_OF: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """Return the turns of all who read in this loop."""
    turns = _OF.get(loop)
    if turns is None:
        turns = _OF[loop] = Turns(loop)
    return turns
