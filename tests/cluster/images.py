"""The images of this code: their names, and what they are made of."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TAG: Final = os.environ.get("CONSTELLATION_TAG", "dev")
IMAGES: Final[Mapping[str, str]] = {  # by target
    "constellation": "constellation",
    "triton": "constellation-triton",
}


def default_base(root: Path) -> str:
    """Return the image that the Dockerfile's stages begin with unless told otherwise."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (root / "Dockerfile").read_text(), re.M)
    assert found
    return found[1]


SECRET_FILES: Final = (
    *("token", "*.key", "*.pem", "*.crt", ".env", "*.db", "*.duckdb", "*.snapshot"),
    *(".git", ".constellation", ".netrc", ".npmrc", "id_*"),
)
