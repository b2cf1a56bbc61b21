"""What all tests share."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from libs import compiled
from libs.common.databases import sqlite_url
from tests.analytics.kafka_broker import Broker
from tests.postgres import PostgreSQL, binaries
from tests.short_dirs import short_dir
from tests.system.harness import Up, cleaned_up, processes_of

TRITON = Path(__file__).parents[1] / ".triton"
# One worker starts it for all tests with it.
ON_POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))

# Processes that tests start find compiled modules, whatever the environment says: without them
# each compiles all that it imports, which more than doubles what its start takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Several workers share few cores: threads of their own in every one would only be in the way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# An example may take long on a busy machine; each test has its timeout.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "100"))
hypothesis.settings.register_profile("ours", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("ours")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interpreted: looks at frames, which compiled code has not")
    config.addinivalue_line("markers", "long: runs only with `-m long`")
    config.addinivalue_line("markers", "cluster: runs only with `-m cluster`, on a Docker engine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the interpreter can tell, where the hot path is compiled."""
    if getattr(config.option, "loadgroup", False):  # in a worker of `--dist loadgroup`
        _check_groups(items)
    if not compiled.in_use():
        return
    out = [each for each in items if each.get_closest_marker("interpreted")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [each for each in items if each not in out]


def pytest_collection_finish() -> None:
    """Spare the garbage collector the tests themselves, which would take it most of a second."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the end of the process find all of it again, else libraries call it leaked."""
    gc.unfreeze()


def _check_groups(items: list[pytest.Item]) -> None:
    """pytest 9.2 and pytest-xdist 3.8 together let every group run everywhere, and say nothing."""
    alone = [each for each in items if each.get_closest_marker("xdist_group")]
    if any("@" not in each.nodeid for each in alone):
        raise pytest.UsageError("this pytest does not keep xdist's groups together")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """In CI a skip is a failure: what a test misses there is a mistake in the set-up."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder whose path leaves room for a socket's name."""
    with short_dir() as path:
        yield path


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """One for all tests that do not harm it; it must end well, and leave nothing."""
    with short_dir() as folder, cleaned_up(folder):
        running = Up(folder).start()
        yield running
        running.client.close()
        assert running.service.stop() == 0
        assert processes_of(folder) == {}


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real Kafka of one broker."""
    if not Broker.is_there():
        pytest.skip("no Kafka: run `make tools` where there are Java and Maven")
    with short_dir() as folder:
        broker = Broker(folder)
        try:
            broker.start()
            yield broker
        finally:
            broker.close()


@pytest.fixture
def kafka(broker: Broker) -> Iterator[Broker]:
    """The same; a test that kills it starts it again."""
    yield broker
    gc.collect()  # aiokafka forgets a connection that is cancelled while it is made


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real one; a test that stops it starts it again."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL: apt install postgresql")
    with short_dir() as folder:
        server = PostgreSQL(found, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(params=["sqlite", ON_POSTGRESQL])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, in a file and in a real PostgreSQL."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "some.db")
        return
    server = request.getfixturevalue("postgresql")
    with server.database() as name:
        yield server.url(name)


@pytest.fixture(scope="session")
def triton_environment() -> Path:
    """Triton's own Python environment; where there could be one, there must be."""
    if not (TRITON / "environment.json").exists():
        could_have_it = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
        (pytest.fail if could_have_it else pytest.skip)("no Triton environment: run `make setup`")
    return TRITON


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[Any]:
    """One for all tests that do not harm it, each in a database of its own."""
    from tests.clickhouse.running import running  # not before: few tests need its driver

    with short_dir() as folder, running(folder) as process:
        yield process


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """Tell what a fault cost: printed at the end of the run, whether or not the test passed."""

    def tell(fault: str, cost: object) -> None:
        record_property("fault", f"{fault}: {cost}")

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault runs counted (the fixture `told`), and the time."""
    stats = terminalreporter.stats
    reports = [each for end in ("passed", "failed") for each in stats.get(end, [])]
    found = [each.user_properties for each in reports if each.when == "call"]
    told = [value for properties in found for name, value in properties if name == "fault"]
    if told:
        terminalreporter.section("fault runs")
        for line in told:
            terminalreporter.write_line(str(line))
    _print_times(terminalreporter)


def _print_times(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which folders the time of all workers went to, where it was minutes."""
    tests, seconds = Counter[str](), Counter[str]()
    for reports in terminalreporter.stats.values():
        for each in reports:
            if isinstance(each, pytest.TestReport):
                folder = "/".join(each.nodeid.split("::")[0].split("/")[:2])
                tests[folder] += each.when == "call"
                seconds[folder] += each.duration
    if seconds.total() > 60:
        terminalreporter.section("seconds of workers, by folder")
        for folder, took in seconds.most_common(20):
            terminalreporter.write_line(f"{took:7.1f}  {tests[folder]:5d} tests  {folder}")
