"""Bearer keys, each a file of one folder; the catalog knows their names alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)


class Keys:
    """Reads a key when it is first used, and again after it was refused."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Mapping[str, str]] = {"": {}}

    def __repr__(self) -> str:
        return f"<Keys of {self._folder}: {', '.join(filter(None, self._known)) or 'none read'}>"

    def headers(self, name: str) -> Mapping[str, str]:
        """Return what shows the key of this name; nothing for no name, or where there is none."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._read(name)
        return known

    def forget(self, name: str) -> None:
        """Read the key anew when it is needed again."""
        if name:
            self._known.pop(name, None)

    def _read(self, name: str) -> Mapping[str, str]:
        if self._folder is None:
            log.warning("a model names the key %r, but the setting `keys` names no folder", name)
            return {}
        try:
            key = (self._folder / name).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            log.warning("the key %r cannot be read: %s", name, type(error).__name__)
            return {}
        if not key.isprintable() or " " in key:  # no header can hold it
            log.warning("the key %r is not used: its file has more than one word", name)
            return {}
        return {"Authorization": f"Bearer {key}"}
