"""What is made of files that change: TLS whose renewed certificates the next connection gets."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

CHECK_S = 1.0
log = logging.getLogger(__name__)
Stamp: TypeAlias = tuple[tuple[int, int, int], ...]
T = TypeVar("T")


class Live(Generic[T]):
    """Holds what `load` made of the files; makes it anew when they change.

    What cannot be loaded leaves the old one in place. Raises OSError at the first time.
    """

    def __init__(self, load: Callable[[], T], files: Sequence[Path]) -> None:
        self._load = load
        self._files = tuple(files)
        self._stamp = self._stamp_of_now()
        self._now = self._told = load()
        self._checked = time.monotonic()

    def __repr__(self) -> str:
        return f"<Live {', '.join(map(str, self._files))}>"

    def now(self) -> T:
        """Return what the files hold, as they were at most a second ago."""
        if time.monotonic() - self._checked >= CHECK_S:
            self._checked = time.monotonic()
            self.look()
        return self._now

    def news(self) -> T | None:
        """Return what the files hold, if it is another than was asked for last; else None."""
        now = self.now()
        if now is self._told:
            return None
        self._told = now
        return now

    def look(self) -> None:
        """Load the files, if they have changed."""
        try:
            stamp = self._stamp_of_now()
        except OSError:
            stamp = ()
        if stamp == self._stamp:
            return
        self._stamp = stamp  # so that a broken pair is told of once
        try:
            self._now = self._load()
        except (OSError, ValueError) as error:
            log.error("TLS files cannot be loaded, the old ones serve on: %s", error)
        else:
            log.info("TLS files were loaded again: %s", self._files[0])

    def _stamp_of_now(self) -> Stamp:
        found = [path.stat() for path in self._files]
        return tuple((each.st_ctime_ns, each.st_ino, each.st_size) for each in found)


class LiveContext(ssl.SSLContext):
    """Stands before the context of now; event loops ask it for one handshake after the other.

    A new context each time, rather than new files into the old one: half a pair that fails
    leaves the old one whole, and an authority that was taken out is trusted no more.
    """

    live: Live[ssl.SSLContext]

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a handshake with what the files hold."""
        return self.live.now().wrap_bio(*args, **options)


def live_context(load: Callable[[], ssl.SSLContext], files: Sequence[Path]) -> LiveContext:
    """Return a context that follows the files. Raises OSError, of which SSLError is one."""
    live = Live(load, files)
    context = LiveContext(live.now().protocol)
    context.live = live
    return context
