"""What upgrades the cluster, and what refuses to mix profiles, over a fake docker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.queries import ROOT

MINIMAL = ["analytics", "entry", "node", "scheduler", "server", "certs"]
FULL = ["ams-entry", "iad-entry", "ams-node", "ams-server-1", "scheduler-a", "scheduler-b", "usage"]
FAKE_DOCKER = """#!/bin/bash
case "$*" in
*" ps --services")
  [ -z "$PS_FAILS" ] || { echo "$PS_FAILS" >&2; exit 14; }
  printf '%s\\n' $RUNNING ;;
*" config --services") printf '%s\\n' $WANTED ;;
*" exec "*) printf '1\\n0\\n' ;;
*" up "*) [ "${!#}" != "$FAILS" ] || { echo "no such image: x" >&2; exit 1; }
          echo "${!#}" >>"$UPGRADED" ;;
*) echo "not expected: $*" >&2; exit 2 ;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder for PATH with a fake docker, named so, and no other Compose before it."""
    for name, script in {
        "docker": FAKE_DOCKER,
        "docker-compose": '#!/bin/bash\nexec docker compose "$@"\n',
    }.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def ran(path: Path, script: str, *words: str, **env: str) -> tuple[int, list[str], str]:
    """Run a script; return its exit code, what was upgraded, and what it printed."""
    told = path / "upgraded"
    done = subprocess.run(
        [ROOT / "deploy/compose" / script, *words],
        env={"PATH": f"{path}:{os.environ['PATH']}", "UPGRADED": str(told), "WAIT_S": "5", **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    upgraded = told.read_text().split() if told.exists() else []
    return done.returncode, upgraded, done.stdout + done.stderr


@pytest.mark.parametrize("missing", ["", *MINIMAL[:-1]])
def test_all_that_runs_is_upgraded_whatever_does_not(path: Path, missing: str) -> None:
    running = [each for each in MINIMAL if each != missing]

    code, upgraded, told = ran(path, "upgrade", RUNNING=" ".join(running))

    assert code == 0, told
    order = ["scheduler", "analytics", "node", "server", "entry"]
    assert upgraded == [each for each in order if each != missing]
    assert told.count("is back after") == len(upgraded)


def test_who_stands_by_comes_first_and_entries_last(path: Path) -> None:
    _, upgraded, _ = ran(path, "upgrade", RUNNING=" ".join(FULL))

    assert upgraded == [*reversed(FULL[4:6]), "usage", *FULL[2:4], *FULL[:2]]


def test_what_compose_says_of_a_failure_is_told(path: Path) -> None:
    code, upgraded, told = ran(path, "upgrade", RUNNING=" ".join(MINIMAL), FAILS="node")

    assert (code, upgraded) == (1, ["scheduler", "analytics"])
    assert "no such image: x\nnode does not come back: see its log" in told


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        ((), {}, "nothing of the cluster runs: make up starts it"),
        ((), {"PS_FAILS": "Cannot connect to the Docker daemon"}, "Cannot connect to the Docker"),
        (("kafka",), {"RUNNING": "entry"}, "kafka does not run"),
        (("entry", "kafka"), {"RUNNING": "entry"}, "kafka does not run"),
    ],
)
def test_what_cannot_be_upgraded_is_told_before_anything_is(
    path: Path, words: tuple[str, ...], env: dict[str, str], expected: str
) -> None:
    code, upgraded, told = ran(path, "upgrade", *words, **env)

    assert (code > 0, upgraded) == (True, [])
    assert expected in told


@pytest.mark.parametrize(
    ("wanted", "running", "refused"),
    [
        (FULL, MINIMAL, "the profile minimal runs: `make down` first"),
        (MINIMAL, FULL, "the profile full runs: `make down` first"),
        (FULL, FULL, ""),
        (MINIMAL, MINIMAL, ""),
        (FULL, [], ""),
        (FULL, ["postgres"], ""),
    ],
)
def test_one_profile_is_not_started_beside_another(
    path: Path, wanted: list[str], running: list[str], refused: str
) -> None:
    env = {"WANTED": " ".join(wanted), "RUNNING": " ".join(running)}

    code, _, told = ran(path, "refuse-mixed", **env)

    assert (code, refused in told) == (1 if refused else 0, True)
    assert bool(told) == bool(refused)
