"""The finder that puts a compiled module in the place of its source."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from libs.compiled.modules import files, fitting

INTERPRETED = "CONSTELLATION_INTERPRETED"


class Finder(MetaPathFinder):
    """Knows the modules of one build."""

    def __init__(self, extensions: Mapping[str, Path]) -> None:
        self._extensions = extensions

    def __repr__(self) -> str:
        return f"<Finder of {len(self._extensions)} compiled modules>"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module's extension is, None for what is not compiled."""
        extension = self._extensions.get(fullname)
        return None if extension is None else spec_from_file_location(fullname, extension)


def use() -> None:
    """Import compiled modules from now on, if there is a build that fits the source."""
    if in_use() or os.environ.get(INTERPRETED):
        return
    build = fitting()
    if build.is_dir():
        sys.meta_path.insert(0, Finder(files(build)))


def in_use() -> bool:
    """Whether the hot path is compiled."""
    return any(isinstance(each, Finder) for each in sys.meta_path)
