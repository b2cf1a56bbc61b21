"""Which processes are ours to kill: Tritons and stubs, and nobody who looks at their files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.node.drivers import processes


@pytest.fixture
def started() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, name: str, *arguments: str) -> int:
    """A process that sleeps, under a name and with arguments of another."""
    command = [name, "-c", "echo up; read line", "-", *arguments]
    process = stack.enter_context(
        subprocess.Popen(
            command, executable="/bin/sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"  # until then it has no command line yet
    return process.pid


@pytest.mark.parametrize(
    "name", ["/opt/tritonserver/bin/tritonserver", "python/triton_python_backend_stub"]
)
def test_a_triton_and_its_stubs_are_found(started: ExitStack, tmp_path: Path, name: str) -> None:
    pid = start(started, name, f"--backend-directory={tmp_path}/backends")

    assert [each.pid for each in processes.mentioning(tmp_path / "backends")] == [pid]


def test_one_that_is_yet_to_become_a_triton_is_found(started: ExitStack, tmp_path: Path) -> None:
    arguments = ("-m", "services.node.launch", "--", "tritonserver", f"{tmp_path}/backends")
    pid = start(started, "python", *arguments)

    assert [each.pid for each in processes.mentioning(tmp_path / "backends")] == [pid]


def test_somebody_who_reads_a_file_there_is_left_alone(started: ExitStack, tmp_path: Path) -> None:
    log = tmp_path / "backends" / "log"
    log.parent.mkdir()
    log.touch()
    tail = started.enter_context(subprocess.Popen(["tail", "-f", str(log)]))
    started.callback(tail.kill)
    start(started, "sh", str(log))

    assert processes.mentioning(tmp_path / "backends") == []


def test_one_that_has_ended_has_no_threads(started: ExitStack) -> None:
    process = processes.Process.of(start(started, "sh"))
    assert process is not None
    assert process.threads() == 1

    started.close()

    assert process.threads() == 0
