"""How long something lasts and how large it is, as people say it."""

from __future__ import annotations


def ago(seconds: float) -> str:
    """Return a time in its largest unit: 12 s, 5 min, 3 h, 2 d."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def size(count: int) -> str:
    """Return bytes in their largest unit: 512 B, 20 MB, 3.5 GB."""
    for unit, each in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= each:
            return f"{count / each:.{0 if count >= 10 * each else 1}f} {unit}"
    return f"{count} B"
