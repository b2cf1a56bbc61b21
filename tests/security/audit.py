"""What is known against the versions that the lock files pin; `make check` runs it.

An advisory fails it, and so does a lock file that cannot be read. Where the advisories cannot be
had, or not in time, it says so in a line and goes on: a network is no condition for a check.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LOCKS = (Path("requirements.lock"), Path("deploy/image/requirements.lock"))
SECONDS = 45.0  # for all of it; a hundred questions take about ten where the network is good
ANSWER_SECONDS = 5  # for each of them
# Advisories that do not concern us: their ids, each with the reason beside it.
IGNORED: tuple[str, ...] = ()
# How pip-audit ends where nobody answers, or somebody else does, such as a proxy.
AWAY = ("requests.exceptions.", "ConnectionError", "ServiceError", "network may be blocking")


def audit(locks: Sequence[Path], *more: str, seconds: float = SECONDS) -> tuple[bool, list[str]]:
    """Return whether nothing is wrong, and the lines that say what was found."""
    try:
        ended = subprocess.run(
            [*_command(locks), *more], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return True, [f"dependencies were not audited: no end within {seconds:g} s"]
    if not ended.stdout:
        if any(sign in ended.stderr for sign in AWAY):
            return True, ["dependencies were not audited: the advisories could not be had"]
        return False, [f"pip-audit failed: {ended.stderr.strip()[-2000:]}"]
    dependencies = json.loads(ended.stdout)["dependencies"]
    found = [line for each in dependencies for line in _advisories(each)]
    return not found, found or [f"no advisory on {len(dependencies)} dependencies"]


def _command(locks: Sequence[Path]) -> list[str]:
    """Return pip-audit's call: what is pinned is all there is, so nothing is resolved."""
    files = [part for lock in locks for part in ("-r", str(lock))]
    ignored = [part for each in IGNORED for part in ("--ignore-vuln", each)]
    how = ["--disable-pip", "--progress-spinner", "off", "--format", "json", "--desc", "off"]
    bounds = ["--vulnerability-service", "osv", "--timeout", str(ANSWER_SECONDS)]
    return [sys.executable, "-m", "pip_audit", *how, *bounds, *files, *ignored]


def _advisories(dependency: dict[str, Any]) -> Iterator[str]:
    """Say what is known against a version, and what would mend it."""
    if "skip_reason" in dependency:
        yield f"{dependency['name']}: not audited: {dependency['skip_reason']}"
    for known in dependency.get("vulns", ()):
        mended = ", ".join(known["fix_versions"]) or "no version yet"
        names = ", ".join((known["id"], *known["aliases"]))
        yield f"{dependency['name']} {dependency['version']}: {names}; mended by {mended}"


if __name__ == "__main__":
    fine, lines = audit(LOCKS, *sys.argv[1:])
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.exit(not fine)
