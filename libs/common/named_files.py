"""Files that the catalog names: why one cannot be used, in words, whatever its path is made of."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISREG


def file_flaw(path: Path, *, missing: str) -> str:
    """Return why there is no such file, or nothing; `missing` where it is simply not there."""
    try:
        return "" if S_ISREG(path.stat().st_mode) else missing
    except (FileNotFoundError, NotADirectoryError):
        return missing
    except (OSError, ValueError) as error:
        return unreadable(error)


def unreadable(error: OSError | ValueError) -> str:
    """Say why a file cannot be read, on one line."""
    if isinstance(error, OSError):  # a folder of another user, a name that is too long
        return f"{error.strerror or error}: {str(error.filename)!r:.200}"
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"not UTF-8 text (its line {line})"
    return f"no path of a file: {error}"  # a zero in it, or half a character
