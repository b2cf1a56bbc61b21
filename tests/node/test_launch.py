"""The launcher: what becomes of the command, and when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.node.drivers.processes import Process

pytestmark = [
    pytest.mark.timeout(30),
    pytest.mark.skipif(sys.platform != "linux", reason="death signals are Linux's"),
]

LAUNCH = [sys.executable, "-P", "-m", "services.node.launch"]
STARTER = """
import subprocess, sys, os, time
command = [*sys.argv[2:], "--parent", str(os.getpid()), "--", "sleep", "60"]
with open(sys.argv[1], "w") as note:
    note.write(str(subprocess.Popen(command).pid))
print(flush=True)
time.sleep(60)
"""


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*LAUNCH, "--parent", str(os.getpid()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def start_and_kill_the_starter(note: Path, *arguments: str) -> Process:
    command = [sys.executable, "-c", STARTER, str(note), *LAUNCH, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        starter.stdout.readline()
        launched = Process.of(int(note.read_text()))
        assert launched is not None
        wait_for(lambda: b"sleep" in Path(f"/proc/{launched.pid}/cmdline").read_bytes()[:10])
        starter.kill()
    return launched


def wait_for(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_settings_are_for_the_command() -> None:
    done = launch("--set", "A=1=2", "--", "sh", "-c", "echo $A $$")

    assert done.stdout.split()[0] == "1=2"


def test_our_own_settings_are_not_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSTELLATION_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS", "MODELS_OWN"):
        monkeypatch.setenv(name, "secret")

    done = launch("--set", "CONSTELLATION_A=1", "--", "env")

    ours = {each for each in done.stdout.split() if each.startswith(("CONSTELLATION", "OTEL"))}
    assert ours == {"CONSTELLATION_A=1"}
    assert "MODELS_OWN=secret" in done.stdout


def test_a_command_of_ours_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_ENTRY_REUSE_PORT", "true")

    done = launch("--ours", "--", "env")

    assert "CONSTELLATION_ENTRY_REUSE_PORT=true" in done.stdout.split()


def test_the_command_inherits_no_open_files() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)

    command = [*LAUNCH, "--parent", str(os.getpid()), "--", "sh", "-c", "ls /proc/$$/fd"]
    listed = subprocess.run(command, capture_output=True, text=True, close_fds=False, check=True)
    os.close(reading)
    os.close(writing)

    assert str(writing) not in listed.stdout.split()


@pytest.mark.parametrize("own_session", [True, False])
def test_the_command_steps_back_for_others(own_session: bool) -> None:
    """And so does its session, unless others are in it."""
    show = "nice; cat /proc/self/autogroup || true"
    command = [*LAUNCH, "--parent", str(os.getpid()), "--nice", "7", "--", "sh", "-c", show]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, start_new_session=own_session
    )

    niceness, *session = done.stdout.splitlines()
    assert int(niceness) == os.getpriority(os.PRIO_PROCESS, 0) + 7
    assert all(line.endswith(" nice 7") == own_session for line in session)


def test_the_command_dies_with_the_starter(tmp_path: Path) -> None:
    launched = start_and_kill_the_starter(tmp_path / "pid")

    wait_for(lambda: not launched.is_alive())


def test_a_detached_command_outlives_the_starter(tmp_path: Path) -> None:
    launched = start_and_kill_the_starter(tmp_path / "pid", "--detach")

    time.sleep(0.3)

    assert launched.is_alive()
    launched.signal(signal.SIGKILL)


def test_nothing_is_started_for_a_starter_that_is_gone() -> None:
    command = [*LAUNCH, "--parent", "1", "--", "echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "the starter is gone" in done.stderr
