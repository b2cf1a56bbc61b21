"""One running system for the tests of security."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.site import Site, running
from tests.short_dirs import short_dir
from tests.system.harness import cleaned_up


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """With two accounts, a thief's and an owner's."""
    with short_dir() as folder, cleaned_up(folder), running(folder) as made:
        yield made
