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

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the command line and become the command."""
    parser = argparse.ArgumentParser(prog="launch", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id of the starter")
    parser.add_argument("--detach", action="store_true", help="outlive the starter")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    if not arguments.detach:
        die_with(arguments.parent)
    # Not the launcher's own environment: LD_LIBRARY_PATH is for the command's libraries alone.
    for setting in arguments.settings:
        name, _, value = setting.partition("=")
        os.environ[name] = value
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what a library of the starter let through
    os.execvp(arguments.command[0], arguments.command)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew what to do then
        sys.exit("launch: the starter is gone")


if __name__ == "__main__":
    main()
