"""Have Linux run this thread soon after it wakes, before threads that compute.

Of all that may run, Linux takes the one whose deadline is the earliest, and who asks for short
slices has earlier ones: it waits less, and gets no more of the CPU for it (EEVDF; sched_setattr(2)
with `sched_runtime`, since Linux 6.12). Else a loop that wakes waits for others' slices to end.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

SLICE_S = 0.0001  # the shortest that there is
SWITCH_S = 0.0005  # after which a thread that computes lets another have Python's lock; else 5 ms
NUMBERS = {"x86_64": 314, "aarch64": 274}  # of the call, which the C library does not have
RESET_ON_FORK = 1  # threads and processes that this one starts have slices as always


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


def be_prompt() -> bool:
    """Ask for the calling thread; False where Linux has no such thing.

    Python's own lock is handed over sooner in any case.
    """
    sys.setswitchinterval(SWITCH_S)
    number = NUMBERS.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    asked = Attributes(
        size=ctypes.sizeof(Attributes),
        flags=RESET_ON_FORK,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=int(SLICE_S * 1e9),
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(asked), 0) == 0)
