"""Processes are started with all that they start, read, and ended in all cases."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench.processes import (
    Failure,
    NotInTime,
    cpu_seconds,
    free_ports,
    memory_mb,
    running,
    tree,
    until,
)

PARENT = (
    "import subprocess, time;"
    "subprocess.Popen(['sleep', '60'], start_new_session=True);"
    "print('ready', flush=True); time.sleep(60)"
)


def exists(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_process_ends_with_its_children_even_those_of_another_session(tmp_path: Path) -> None:
    with running([sys.executable, "-c", PARENT], log=tmp_path / "log") as process:
        until(lambda: "ready" in process.said(), seconds=20, what="ready")
        family = until(lambda: len(process.tree()) == 2 and process.tree(), seconds=10, what="two")

    assert [pid for pid in family if exists(pid)] == []


def test_a_process_is_ended_when_the_measurement_breaks(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        running(["sleep", "60"], log=tmp_path / "log") as sleeper,
    ):
        raise ZeroDivisionError

    assert sleeper.popen.returncode is not None


def test_a_process_that_ended_is_told_with_its_last_words(tmp_path: Path) -> None:
    with running(
        [sys.executable, "-c", "print('no port'); exit(3)"], log=tmp_path / "log"
    ) as process:
        process.popen.wait(20)
        with pytest.raises(Failure, match="ended with 3:\nno port"):
            process.check()


def test_the_processor_time_grows_with_the_work() -> None:
    before = cpu_seconds([os.getpid()])
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass

    assert 0.1 < cpu_seconds([os.getpid()]) - before < 2


def test_memory_is_read_and_a_process_that_is_gone_has_none() -> None:
    assert 5 < memory_mb([os.getpid()]) <= memory_mb([os.getpid()], "VmHWM") + 1
    assert memory_mb([2**22 + 1]) == 0
    assert tree(2**22 + 1) == []


def test_ports_are_all_different() -> None:
    assert len(set(free_ports(5))) == 5


def test_waiting_ends() -> None:
    with pytest.raises(NotInTime, match=r"not within 0\.1 s: the moon"):
        until(lambda: None, seconds=0.1, what="the moon")
