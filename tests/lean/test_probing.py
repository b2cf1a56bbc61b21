"""A network that is taken away, which no peer tells of."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALONE = ["unshare", "--user", "--map-root-user", "--net"]


def can_be_alone() -> bool:
    """Whether this machine gives a process a network of its own."""
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, timeout=10).returncode == 0
    except FileNotFoundError:
        return False


def test_a_connection_is_given_up_whose_other_side_is_cut_off() -> None:
    if not can_be_alone():
        pytest.skip("needs Linux's namespaces of users and networks")
    told = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.lean.cut_off"],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    ).stdout.split()

    assert told[::2] == ["UNAVAILABLE", "idle"]
    assert 1 < float(told[1]) < 10  # not at the call's end, which is 30 s
    assert 1 < float(told[3]) < 15
