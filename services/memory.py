"""How much memory this process has, and all those that it started."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def resident_mb(pid: int | None = None) -> float:
    """Return the resident memory of a process and its descendants; 0 where no /proc tells.

    What processes share is counted in each.
    """
    parents = {}
    for entry in PROC.glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid ...": the name may hold anything, so count from its end.
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended as we looked
            continue
    family, found = {pid or os.getpid()}, 0
    while len(family) > found:
        found = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    return sum(_pages(each) for each in family) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _pages(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
