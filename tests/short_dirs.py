"""Folders with short paths: a Unix socket's address has room for 107 bytes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cst"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
