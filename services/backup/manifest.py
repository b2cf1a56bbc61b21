"""What a backup says of itself: its first member, by which all others are checked."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Final

import msgspec

NAME: Final = "manifest.json"
MOST_BYTES: Final = 64 << 20
FORMAT: Final = 1
STATE: Final = "state"  # what goes into the state folder
CONFIG: Final = "config"  # and into that of the configuration


class CannotBackUp(Exception):
    """A backup cannot be made or restored; its text is the whole message."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup, and what is not."""

    format: int
    version: str  # of Constellation
    created: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...] = ()  # sentences: what must be saved elsewhere, or was missing

    @property
    def size(self) -> int:
        """Return how many bytes all parts have."""
        return sum(part.size for part in self.parts)


def ours() -> str:
    """Return the version of Constellation that runs."""
    return version("constellation-inference")


def written(manifest: Manifest) -> bytes:
    """Write it as JSON for people, too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def read(content: bytes) -> Manifest:
    """Read one that this version can restore. CannotBackUp."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotBackUp(f"its {NAME} cannot be read: {error}") from error
    if manifest.format > FORMAT or _numbers(manifest.version) > _numbers(ours()):
        raise CannotBackUp(
            f"it was made by a newer version ({manifest.version}, format {manifest.format}): "
            f"this is {ours()}, which knows format {FORMAT}; restore it with that version or a "
            "newer one"
        )
    for part in manifest.parts:
        _check_name(part.name)
    if len({part.name for part in manifest.parts}) < len(manifest.parts):
        raise CannotBackUp(f"its {NAME} names a file twice")
    return manifest


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])]


def _check_name(name: str) -> None:
    """Refuse names that would lead out of the folders that are restored."""
    path = PurePosixPath(name)
    is_below = len(path.parts) > 1 and path.parts[0] in (STATE, CONFIG)
    if not is_below or ".." in path.parts or str(path) != name or "\0" in name:
        raise CannotBackUp(f"its {NAME} names {name!r}: expected a path below {STATE} or {CONFIG}")
