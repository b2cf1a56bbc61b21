"""Small JSON files that are read again after a crash."""

from __future__ import annotations

import json
from pathlib import Path


def write_json(path: Path, value: object) -> None:
    """Write the whole file or nothing."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(value, indent=2) + "\n")
    unfinished.replace(path)
