"""What the screen says of memory."""

from __future__ import annotations

import subprocess
import sys

from services.memory import resident_mb

HOLD = "held = bytearray(60_000_000); print(flush=True); input()"
STARTED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}], check=True)"


def test_the_memory_of_those_that_were_started_counts() -> None:
    command = [sys.executable, "-c", STARTED]  # not in this one, others of which may just end
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        held = resident_mb(parent.pid)
        parent.communicate(b"\n")

    assert 55 < held < 150


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    assert resident_mb(child.pid) == 0
