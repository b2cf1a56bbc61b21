"""Files that the settings name: those that lack their other half, and those that are not here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from libs.common.config import ConfigFile
from libs.common.named_files import file_flaw
from libs.common.yaml_files import Problem
from services.settings import each_settings

TOGETHER: Final = (("hop_cert", "hop_key", "hop_ca"), ("tls_cert", "tls_key"))
ENDS: Final = ("_file", "_cert", "_key", "_ca")  # of a setting that names a file to be read


def halves(config: ConfigFile) -> Iterator[Problem]:
    """Yield what stands without that which belongs to it."""
    for service, made in each_settings(config):
        for names in TOGETHER:
            given = [name for name in names if getattr(made, name, None)]
            if given and len(given) < len(names):
                text = f"{', '.join(names)} belong together: expected all or none"
                yield config.document.problem((service, given[0]), text)


def not_here(config: ConfigFile) -> Iterator[Problem]:
    """Yield the files that this machine does not have; another may, where the service runs."""
    for service, made in each_settings(config):
        for name in type(made).__dataclass_fields__:
            path = getattr(made, name)
            if name.endswith(ENDS) and isinstance(path, Path):
                why = file_flaw(path, missing=f"there is no file {path} on this machine")
                if why:
                    yield config.document.problem((service, name), why)
