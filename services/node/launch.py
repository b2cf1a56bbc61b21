"""The launcher: becomes the command it is given, which then dies with the one who started it.

A death signal must be asked for by the process itself, after its own exec (asked for between fork
and exec it would follow a thread), and it survives the next exec. So a node starts
`python -m services.node.launch --parent PID -- command ...` and this becomes `command`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
OURS = ("CONSTELLATION_", "OTEL_EXPORTER_OTLP_")
AUTOGROUP, AUTOGROUP_TRIES = Path("/proc/self/autogroup"), 10


def main() -> None:
    """Read the command line and become the command."""
    parser = argparse.ArgumentParser(prog="launch", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id of the starter")
    parser.add_argument("--detach", action="store_true", help="outlive the starter")
    parser.add_argument("--ours", action="store_true", help="the command keeps our settings")
    parser.add_argument("--nice", type=int, default=0, help="how far to step back for others")
    parser.add_argument("--folder", default="", help="where the command runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    if not arguments.detach:
        die_with(arguments.parent)
    step_back(arguments.nice)
    if not arguments.ours:
        forget_secrets()
    # Not the launcher's own environment: LD_LIBRARY_PATH is for the command's libraries alone.
    for setting in arguments.settings:
        name, _, value = setting.partition("=")
        os.environ[name] = value
    if arguments.folder:
        os.chdir(arguments.folder)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what a library of the starter let through
    os.execvp(arguments.command[0], arguments.command)


def forget_secrets() -> None:
    """Keep our settings, tokens among them, from what runs models: their code is others'."""
    for name in [each for each in os.environ if each.startswith(OURS)]:
        del os.environ[name]


def step_back(nice: int) -> None:
    """Let others have the CPU first, by so much of what `nice` counts.

    Linux may weigh sessions against each other and processes only within theirs (its autogroup,
    sched(7)): so a session that is this process's own is told the same.
    """
    os.nice(nice)
    if os.getsid(0) != os.getpid():
        return
    for _ in range(AUTOGROUP_TRIES):
        try:
            AUTOGROUP.write_text(str(nice))
        except BlockingIOError:  # not more than one in 100 ms, of all users
            time.sleep(0.1)
        except OSError:  # it weighs no sessions
            return
        else:
            return


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew what to do then
        sys.exit("launch: the starter is gone")


if __name__ == "__main__":
    main()
