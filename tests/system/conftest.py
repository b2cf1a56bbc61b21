"""What the system tests of one worker share: one `constellation up` that nobody harms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.short_dirs import short_dir
from tests.system.harness import Up, cleaned_up, processes_of


@pytest.fixture
def state() -> Iterator[Path]:
    with short_dir() as folder, cleaned_up(folder):
        yield folder


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """One that all tests share that do not harm it; it must end well, and leave nothing."""
    with short_dir() as folder, cleaned_up(folder):
        running = Up(folder).start()
        yield running
        running.client.close()
        assert running.service.stop() == 0
        assert processes_of(folder) == {}


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
