"""What the screen says of memory."""

from __future__ import annotations

import subprocess
import sys

from services.memory import resident_mb

HOLD = "held = bytearray(60_000_000); print(flush=True); input()"


def test_the_memory_of_those_that_were_started_counts() -> None:
    before = resident_mb()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        grown = resident_mb() - before
        alone = resident_mb(child.pid)
        child.communicate(b"\n")

    assert 55 < grown < 120
    assert 55 < alone < 120


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    assert resident_mb(child.pid) == 0
