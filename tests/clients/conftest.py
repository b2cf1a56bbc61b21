"""Both clients."""

from __future__ import annotations

from typing import Any

import pytest
from constellation_client import AI, AsyncAI


@pytest.fixture(params=[AI, AsyncAI])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param
