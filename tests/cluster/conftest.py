"""What the tests of the cluster share: an engine that answers, and the images of this code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.base_images import FOLDERS, bases_of, build, ensure
from tests.cluster.containers import Tell
from tests.cluster.engine import ask
from tests.cluster.images import IMAGES, TAG, default_base

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def engine() -> None:
    """An engine that answers."""
    if ask("version") is None:
        pytest.fail("no Docker engine answers: run these tests by `make test-cluster`")


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, str]:
    """Both images of this code by their targets, and their base; built from the cache."""
    assert bases_of(ROOT) == []  # all stages begin with the one below
    base = default_base(ROOT)
    ensure(base)
    for target, name in IMAGES.items():
        build(ROOT, "--target", target, "-t", f"{name}:{TAG}")
    built = {target: f"{name}:{TAG}" for target, name in IMAGES.items()}
    return {**built, "base": base}


@pytest.fixture(scope="session")
def others(engine: None) -> None:
    """The images of others that the cluster is made of, pulled or made."""
    for name in FOLDERS:
        ensure(name)


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Tell:
    """Tell a figure: it is printed at the end of the run."""

    def tell(line: str) -> None:
        record_property("cluster", line)

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests told."""
    reports = [each for end in ("passed", "failed") for each in terminalreporter.stats.get(end, [])]
    found = [each.user_properties for each in reports if each.when == "call"]
    if lines := [str(line) for each in found for name, line in each if name == "cluster"]:
        terminalreporter.section("cluster")
        for line in lines:
            terminalreporter.write_line(line)
