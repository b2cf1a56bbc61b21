"""Have Linux run this thread soon after it wakes where the machine is busy, and in turn where not.

Of all that may run, Linux takes the one whose deadline is the earliest, and who asks for short
slices has earlier ones: it waits less, and gets no more of the CPU for it (EEVDF; sched_setattr(2)
with `sched_runtime`, since Linux 6.12). Else a loop that wakes waits for others' slices to end.

Where CPUs are idle there is nothing to wait for, and short slices do harm: who is woken by a
neighbour's write takes the CPU from it in the middle of that, and since two want that CPU then,
whoever is woken next is sent to another one, which sleeps. In a virtual machine that takes longer
than much of what a request needs.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

SLICE_S = 0.0001  # the shortest that there is
SWITCH_S = 0.0005  # after which a thread that computes lets another have Python's lock; else 5 ms
LOOK_S = 0.25  # between two looks at how busy the machine is
BUSY, QUIET = 0.35, 0.25  # shares of its CPUs' time: short slices from here on, and down to there
NUMBERS = {"x86_64": 314, "aarch64": 274}  # of the call, which the C library does not have
RESET_ON_FORK = 1  # threads and processes that this one starts have slices as always
UPTIME = Path("/proc/uptime")


class Attributes(ctypes.Structure):
    """sched_attr of the kernel; all that is 0 is as it was by default."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


class Uptime(NamedTuple):
    """Seconds since boot, and those that all CPUs together have been idle: proc_uptime(5)."""

    up_s: float
    idle_s: float


Source: TypeAlias = Callable[[], AbstractContextManager[Callable[[], Uptime]]]


def ask_for_slices(seconds: float) -> bool:
    """Ask for the calling thread, 0 for slices as always; False where Linux has no such thing."""
    number = NUMBERS.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    asked = Attributes(
        size=ctypes.sizeof(Attributes),
        flags=RESET_ON_FORK,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=int(seconds * 1e9),
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(asked), 0) == 0)


@contextmanager
def opened() -> Iterator[Callable[[], Uptime]]:
    """Yield what reads it, also while no other file can be opened."""
    with UPTIME.open("rb", buffering=0) as file:

        def told() -> Uptime:
            file.seek(0)
            up, idle = file.read(64).split()
            return Uptime(float(up), float(idle))

        yield told


def busy_share(before: Uptime, now: Uptime, cpus: int) -> float:
    """Return how much of the CPUs' time was used; all of it where no time has passed."""
    passed = (now.up_s - before.up_s) * cpus
    return 1 - (now.idle_s - before.idle_s) / passed if passed > 0 else 1.0


def is_busy(share: float, *, was: bool) -> bool:
    """Whether slices should be short; between the two bounds they stay as they are."""
    return share > QUIET if was else share >= BUSY


def is_told() -> bool:
    """Whether it can be known how busy the CPUs are that this thread may run on: all of them."""
    try:
        with opened() as told:
            told()
    except (OSError, ValueError):  # some sandboxes have no such file, or another
        return False
    return len(os.sched_getaffinity(0)) == os.cpu_count()


async def be_prompt(
    *, look_s: float = LOOK_S, source: Source = opened, cpus: int | None = None
) -> None:
    """Do so for the calling thread, until cancelled; ends where there is nothing to choose.

    That is off Linux, and where it is not known how busy it is here: then slices are always short.
    Python's own lock is handed over sooner in any case.
    """
    sys.setswitchinterval(SWITCH_S)
    if not ask_for_slices(SLICE_S) or not is_told():
        return
    count = cpus or os.cpu_count() or 1
    with source() as told:
        was, before = True, told()
        while True:
            await asyncio.sleep(look_s)
            now = told()
            busy = is_busy(busy_share(before, now, count), was=was)
            if busy is not was:
                ask_for_slices(SLICE_S if busy else 0)
            was, before = busy, now
