"""What several tests of this folder need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog's folder, empty as yet."""
    config = tmp_path / "config"
    (config / "models").mkdir(parents=True)
    (config / "finetunes").mkdir()
    return config
