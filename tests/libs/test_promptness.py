"""What a process's main thread asks of the kernel, when, and what its children do not inherit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from libs.common import promptness
from libs.common.promptness import (
    BUSY,
    NUMBERS,
    QUIET,
    SLICE_S,
    Uptime,
    busy_share,
    is_busy,
    opened,
)

HAS_SLICES = (
    sys.platform == "linux"
    and platform.machine() in NUMBERS
    and tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12)
)
GET = NUMBERS.get(platform.machine(), 0) + 1
SHOW = f"""
import ctypes
from libs.common.promptness import Attributes

def slice_s():
    told = Attributes()
    ctypes.CDLL(None).syscall({GET}, 0, ctypes.byref(told), ctypes.sizeof(told), 0)
    return told.runtime_ns / 1e9
"""
# Four looks at two CPUs: all is used, nothing, a third, all. What is seen is from before each.
ASK = f"""
{SHOW}
import asyncio, subprocess, sys
from contextlib import nullcontext
from libs.common.promptness import Uptime, be_prompt

idle = iter([0.0, 0.0, 2.0, 3.4, 3.4])
seen = []

def told():
    seen.append(slice_s())
    if len(seen) == 2:
        done = subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True)
        print(done.stdout.strip())
    return Uptime(float(len(seen)), next(idle))

async def main():
    task = asyncio.create_task(be_prompt(look_s=0.01, source=lambda: nullcontext(told), cpus=2))
    await asyncio.wait([task])
    assert isinstance(task.exception(), RuntimeError), task.exception()  # StopIteration: it ran out

asyncio.run(main())
print(*seen, sys.getswitchinterval())
"""


@pytest.mark.skipif(not HAS_SLICES, reason="slices of Linux, since 6.12")
def test_a_main_thread_has_short_slices_while_the_machine_is_busy_and_children_never() -> None:
    child = f"{SHOW}\nprint(slice_s())"
    done = subprocess.run(
        [sys.executable, "-c", ASK, child], capture_output=True, text=True, check=True
    )

    childs_s, *own, switch_s = map(float, done.stdout.split())
    at_first, none_yet, busy, quiet, between, again = own
    assert at_first == none_yet == busy == again == SLICE_S
    assert quiet == between == childs_s > SLICE_S
    assert switch_s < 0.005


@pytest.mark.parametrize("text", [None, "", "1.0", "1.0 a", "1 2 3"])
def test_where_it_is_not_told_slices_stay_short(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promptness, "UPTIME", tmp_path / "uptime")
    if text is not None:
        (tmp_path / "uptime").write_text(text)

    assert not promptness.is_told()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_kernel_tells_again_and_again_how_long_cpus_have_been_idle() -> None:
    with opened() as told:
        first = told()
        time.sleep(0.05)  # it has hundredths of a second
        second = told()

    assert first.up_s < second.up_s
    share = busy_share(first, second, os.cpu_count() or 1)
    assert -0.5 <= share <= 1.5  # in such steps


@pytest.mark.parametrize(
    ("up_s", "idle_s", "cpus", "share"),
    [(10, 20, 2, 0.0), (10, 10, 2, 0.5), (10, 0, 2, 1.0), (1, 3, 4, 0.25), (0, 0, 2, 1.0)],
)
def test_how_busy_it_is(up_s: float, idle_s: float, cpus: int, share: float) -> None:
    before = Uptime(1000, 1500)
    now = Uptime(1000 + up_s, 1500 + idle_s)

    assert busy_share(before, now, cpus) == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "was", "expected"),
    [
        (0.0, True, False),
        (QUIET, True, False),
        (QUIET + 0.01, True, True),
        (BUSY - 0.01, False, False),
        (BUSY, False, True),
        (1.0, False, True),
    ],
)
def test_between_the_bounds_slices_stay_as_they_are(
    share: float, was: bool, expected: bool
) -> None:
    assert is_busy(share, was=was) is expected
