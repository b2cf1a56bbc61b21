"""What the system tests share: a state folder, and a `constellation up` that a test may harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.short_dirs import short_dir
from tests.system.harness import Up, cleaned_up


@pytest.fixture
def state() -> Iterator[Path]:
    with short_dir() as folder, cleaned_up(folder):
        yield folder


@pytest.fixture
def own(state: Path) -> Iterator[Callable[..., Up]]:
    """Starts one that the test may harm."""
    with ExitStack() as stack:

        def start(*arguments: str, env: dict[str, str] | None = None) -> Up:
            made = Up(state, *arguments, env=env)
            stack.callback(made.client.close)
            stack.callback(lambda: made.service.process.poll() is None and made.service.kill())
            return made.start()

        yield start
