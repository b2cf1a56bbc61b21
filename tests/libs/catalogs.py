"""A catalog's folder as tests look at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.catalog_files import load_catalog
from libs.common.world_map import Colo
from libs.common.yaml_files import Problems

COLOS = (Colo(name="ams", region="eu"), Colo(name="iad", region="us"))


def mistakes(folder: Path) -> list[str]:
    """Read a catalog that is wrong, and return what is said of it, a line each."""
    with pytest.raises(Problems) as caught:
        load_catalog(folder, root=folder.parent, colos=COLOS)
    return str(caught.value).splitlines()
