"""One line of batches per store, so that each writes at its own pace.

A batch counts as stored once all stores have it. One store that is slow or
away fills its own line; then nothing more is taken, so no other line grows
for it, and the sinks keep what comes. What the other stores have by then
they are given again after a restart, and repetition is harmless to them.

A sink that hears nothing for a while sends all that it holds once more: what
is in line already is not put there again, but waits for the same write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from libs.common.events.values import Batch
from services.analytics.storing import Storing

Stored: TypeAlias = Callable[[Batch], None]


@dataclass(slots=True)
class _Boot:
    """How far one boot of a server has come; sequences."""

    accepted: int = 0
    stored: int = 0
    # Those that came again, by their last sequence: who is to be told when they are stored.
    again: dict[int, tuple[Batch, Stored]] = field(default_factory=dict)


class Lines:
    """The lines, by the names of their stores."""

    def __init__(self, lines: Mapping[str, Storing]) -> None:
        self.each = lines
        self._boots: dict[tuple[str, int], _Boot] = {}
        self._entrance = asyncio.Lock()  # first come, first served: a boot's order is kept

    def __repr__(self) -> str:
        lines = ", ".join(f"{name}={line!r}" for name, line in self.each.items())
        return f"<Lines {lines}>"

    async def submit(self, batch: Batch, stored: Stored) -> None:
        """Put a batch in every line, as each has room; `stored` is called once all have it."""
        boot = self._boots.setdefault((batch.server, batch.boot_epoch), _Boot())
        if batch.last_sequence <= boot.stored:
            stored(batch)
        elif batch.last_sequence <= boot.accepted:
            boot.again[batch.last_sequence] = batch, stored
        else:
            boot.accepted = batch.last_sequence
            each_stored = _Countdown(len(self.each), partial(_tell, boot, stored))
            async with self._entrance:
                for line in self.each.values():
                    await line.submit(batch, each_stored)

    async def flush(self, seconds: float) -> None:
        """Wait until all that was submitted is in all stores; TimeoutError when it takes longer."""
        flushes = (line.flush(seconds) for line in self.each.values())
        for error in await asyncio.gather(*flushes, return_exceptions=True):
            if error is not None:
                raise error

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while inside; on leaving, what is not in all stores stays with its sink."""
        async with AsyncExitStack() as stack:
            for line in self.each.values():
                await stack.enter_async_context(line.running())
            yield


def _tell(boot: _Boot, stored: Stored, batch: Batch) -> None:
    boot.stored = batch.last_sequence
    stored(batch)
    for sequence in [each for each in boot.again if each <= boot.stored]:
        again, stored_again = boot.again.pop(sequence)
        stored_again(again)


class _Countdown:
    """Calls once, at the last of so many calls."""

    __slots__ = ("_call", "_left")

    def __init__(self, left: int, call: Stored) -> None:
        self._left = left
        self._call = call

    def __call__(self, batch: Batch) -> None:
        self._left -= 1
        if not self._left:
            self._call(batch)
