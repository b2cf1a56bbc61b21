"""What a process's main thread asks of the kernel, and what its children do not inherit."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from libs.common.promptness import NUMBERS, SLICE_S

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NUMBERS, reason="Linux's scheduler"
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
ASK = f"""
{SHOW}
import subprocess, sys
from libs.common.promptness import be_prompt
print(be_prompt(), slice_s(), sys.getswitchinterval())
print(subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True).stdout)
"""


def test_the_main_thread_has_short_slices_and_what_it_starts_has_not() -> None:
    child = f"{SHOW}\nprint(slice_s())"
    done = subprocess.run(
        [sys.executable, "-c", ASK, child], capture_output=True, text=True, check=True
    )

    asked, own_s, switch_s, childs_s = done.stdout.split()
    assert asked == "True"
    assert float(switch_s) < 0.005
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    if release >= (6, 12):  # before, it was accepted and had no meaning
        assert float(own_s) == SLICE_S
        assert float(childs_s) > SLICE_S
