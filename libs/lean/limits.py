"""Bounds on what a peer may cost: sizes, counts, rates and times."""

from __future__ import annotations

import time
from dataclasses import dataclass

from libs.lean.frames import DEFAULT_WINDOW, LARGEST_WINDOW

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one channel or server keeps to, for each of its connections."""

    max_message_bytes: int = 64 * MIB
    max_header_bytes: int = 16 * KIB  # names, values and 32 a field, as RFC 9113 counts
    max_streams: int = 1000  # announced by servers
    stream_window: int = 128 * KIB  # bytes that may wait for a stream's reader
    connection_window: int = 16 * MIB
    max_frame_bytes: int = 16 * KIB  # announced; larger ones are a little cheaper per byte
    header_table_bytes: int = 0  # announced; blocks are cached whole only if it is 0
    send_buffer: int = 128 * KIB  # bytes that may wait for a stream's slow peer
    # For which a client's loop rests after a small read while MANY_STREAMS bring parts in a row:
    # to wake for a single one costs more than all that is done with it.
    coalesce_s: float = 0.0

    connect_s: float = 3.0  # also for a server: the time until preface and SETTINGS are there
    keepalive_s: float = 10.0  # of silence while calls are in flight, then a PING
    keepalive_timeout_s: float = 5.0
    silence_s: float = 8.0  # of the other side's kernel, whether or not there are calls

    max_resets_per_s: int = 5000  # not so few that a load of timeouts could look like an attack
    max_control_per_s: int = 1000  # PING, SETTINGS, PRIORITY, unknown and empty frames
    max_continuations: int = 32  # frames that one header block may be split into
    max_unsent_control: int = 1000  # answers to a peer that does not read them

    def __post_init__(self) -> None:
        """Refuse what HTTP/2 cannot express."""
        if not DEFAULT_WINDOW <= self.connection_window <= LARGEST_WINDOW:
            raise ValueError(f"connection_window: {DEFAULT_WINDOW} to {LARGEST_WINDOW}")
        if not 1 <= self.stream_window <= LARGEST_WINDOW:
            raise ValueError(f"stream_window: 1 to {LARGEST_WINDOW}")
        if not 16 * KIB <= self.max_frame_bytes < 16 * MIB:
            raise ValueError("max_frame_bytes: 16 KiB to 16 MiB - 1")
        if not 0 <= self.header_table_bytes <= 4 * KIB:
            raise ValueError("header_table_bytes: 0 to 4 KiB")


class Rate:
    """So many a second, and as many at once."""

    __slots__ = ("_left", "_per_s", "_since")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._left = float(per_s)
        self._since = time.monotonic()

    def __repr__(self) -> str:
        return f"<Rate {self._left:.0f} of {self._per_s}/s left>"

    def exceeded(self) -> bool:
        """Count one; whether it is too many."""
        self._left -= 1
        if self._left >= 0:
            return False
        now = time.monotonic()
        self._left = min(self._per_s, self._left + (now - self._since) * self._per_s)
        self._since = now
        return self._left < 0
