"""What all tests share."""

from __future__ import annotations

import os

import hypothesis
import pytest

from libs import compiled

# Several workers share few cores: threads of their own in every one would only be in the way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# An example may take long on a busy machine; each test has its timeout.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interpreted: looks at frames, which compiled code has not")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the interpreter can tell, where the hot path is compiled."""
    if not compiled.in_use():
        return
    out = [each for each in items if each.get_closest_marker("interpreted")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [each for each in items if each not in out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """In CI a skip is a failure: what a test misses there is a mistake in the set-up."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
