"""Prints the Python to make .venv of: the one that is called, unless another one is faster.

How an interpreter was built (with profile-guided optimization, as distributions do it, or without,
as pyenv does) makes up to a sixth of what a request costs. It does not say so itself, thus it is
measured. Runs before there is a .venv.
"""

from __future__ import annotations

import subprocess
import sys

CANDIDATES = (sys.executable, "/usr/bin/python3")
WORTH_IT = 0.93  # of the first one's time
MEASURE = """
import os, sys, sysconfig, time
header = os.path.join(sysconfig.get_path("include"), "Python.h")
if not ((3, 11) <= sys.version_info < (3, 14) and os.path.exists(header)):
    sys.exit(1)
class Value:
    __slots__ = ("name", "size")
    def __init__(self, name, size):
        self.name, self.size = name, size
def work():
    kept = {}
    for number in range(20000):
        value = Value(str(number & 255), number)
        kept[value.name, value.size & 63] = b"%d" % value.size
    return len(kept)
def took():
    began = time.process_time()
    work()
    return time.process_time() - began
print(min(took() for _ in range(15)))
"""


def seconds(python: str) -> float | None:
    """Return how long an interpreter takes for such work as ours, None for one that is no use."""
    try:
        ran = subprocess.run([python, "-c", MEASURE], capture_output=True, timeout=30, text=True)
        return float(ran.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def choose() -> str:
    """Return the best of the candidates, else what uv is to look for itself."""
    first, other = map(seconds, CANDIDATES)
    if other is not None and (first is None or other < first * WORTH_IT):
        return CANDIDATES[1]
    return ">=3.11" if first is None else CANDIDATES[0]


if __name__ == "__main__":
    sys.stdout.write(choose() + "\n")
