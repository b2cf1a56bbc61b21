"""One cluster and one browser for the tests of a module; each has a page of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.console.browser import CHROMIUM, Looking, chromium
from tests.console.cluster import two_colos
from tests.short_dirs import short_dir
from tests.system.harness import Up, cleaned_up
from tests.system.load import Load


@pytest.fixture(scope="module")
def busy() -> Iterator[Up]:
    if not CHROMIUM:
        pytest.skip("no chromium: apt install chromium")
    with (
        short_dir() as folder,
        cleaned_up(folder),
        two_colos(folder) as running,
        Load(running.client, threads=1, streams=1),
    ):
        yield running


@pytest.fixture(scope="module")
def browser(busy: Up) -> Iterator[Browser]:
    """After the cluster, and gone before it: playwright's loop is this thread's meanwhile."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def look(browser: Browser, busy: Up) -> Iterator[Callable[..., Looking]]:
    """Opens pages; none may complain, or ask anybody else."""
    with ExitStack() as stack:
        opened: list[Looking] = []

        def open_one(**said: Any) -> Looking:
            made = Looking(browser, **{"base": busy.client.base, **said})
            stack.callback(made.context.close)
            opened.append(made)
            return made

        yield open_one
        for each in opened:
            assert each.complaints == []
            assert each.elsewhere == []
