"""The demo model's own modules, which are on no path here."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[2] / "models" / "text_generation" / "1" / "tinylm"


def load(name: str) -> ModuleType:
    """A module of the package beside `model.py`."""
    if "tinylm" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "tinylm", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules["tinylm"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["tinylm"])
    return importlib.import_module(f"tinylm.{name}")
