"""What a process says of itself: its version and start, its disk, its files, its events."""

from __future__ import annotations

import os
import resource
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Final, Protocol

from libs.common.clock import Clock
from libs.common.process import EventsWaiting, Process
from libs.common.world import World

STARTED_MS: Final = time.time_ns() // 1_000_000  # all of ours import this as they start
LOOK_S: Final = 10.0  # between two looks at disk and files: many files take a moment to count
FILES: Final = Path("/proc/self/fd")


class Waiting(Protocol):
    """A sink of events."""

    def events_waiting(self) -> EventsWaiting:
        """Return what it has."""
        ...


class OwnProcess:
    """Called, it says how this process is now."""

    def __init__(
        self,
        *,
        folder: Path,
        clock: Clock,
        world: World | None = None,
        sink: Waiting | None = None,
        certificate: Path | None = None,
    ) -> None:
        """`folder` is its state folder, `world` what it acts on, `sink` where its events go.

        `certificate` is what it shows to others of ours.
        """
        self._folder = folder
        self._clock = clock
        self._world = world
        self._sink = sink
        self._certificate = certificate
        self._ends_ms = 0
        self._looked_at: float | None = None
        self._disk = self._files = (0, 0)

    def __repr__(self) -> str:
        return f"<OwnProcess {our_version()} in {self._folder}>"

    def __call__(self) -> Process:
        now = self._clock.now()
        if self._looked_at is None or now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._disk, self._files = disk_of(self._folder), _files()
            self._ends_ms = _ends_ms(self._certificate)
        size, free = self._disk
        files, most_files = self._files
        return Process(
            version=our_version(),
            started_ms=STARTED_MS,
            now_ms=self._clock.unix_ms(),
            host=gethostname(),
            world_version=self._world.version if self._world is not None else 0,
            disk_bytes=size,
            disk_free_bytes=free,
            files=files,
            most_files=most_files,
            events=self._sink.events_waiting() if self._sink is not None else None,
            certificate_ends_ms=self._ends_ms,
        )


@cache
def our_version() -> str:
    """Return the version of Constellation."""
    return version("constellation-inference")


def disk_of(folder: Path) -> tuple[int, int]:
    """Return size and free bytes of the file system with a folder; zeros where it is not there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0, 0
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _ends_ms(certificate: Path | None) -> int:
    """Return when a certificate expires; 0 where there is none, or none that can be read."""
    if certificate is None:
        return 0
    from cryptography import x509  # it takes a moment to load, and most have none

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return 0
    return int(found.not_valid_after_utc.timestamp() * 1000)


def _files() -> tuple[int, int]:
    """Return how many file descriptors are open, and how many there may be."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        count = sum(1 for _ in FILES.iterdir())
    except OSError:  # no /proc
        count = 0
    return count, most if most != resource.RLIM_INFINITY else 0
