"""The container that makes the cluster's certificates: at the start, and again each day."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import ROOT

ISSUED = ["scheduler", "analytics", "server", "node", "entry"]


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return found


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def run(tmp_path: Path, compose: dict[str, Any], *, fails: str = "") -> tuple[int, list[str]]:
    """Run its script for two days, with a fake `constellation` and a fake `sleep`."""
    log, made = tmp_path / "log", tmp_path / "made"
    refusal = f'case "$* " in *"--service {fails or "none"} "*) exit 1;; esac'
    fake(tmp_path, "constellation", f'echo "$*" >> {log}; {refusal}')
    days = f"test $(grep -c slept {log}) -lt 2"
    fake(tmp_path, "sleep", f"test -e {made} && echo slept $1 >> {log}; {days}")
    (script,) = compose["services"]["certs"]["command"]
    text = script.replace("$$", "$").replace("/tmp/made", str(made))
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", text], env=env, timeout=20, check=False)
    return done.returncode, log.read_text().splitlines()


def test_it_issues_all_once_a_day(tmp_path: Path, compose: dict[str, Any]) -> None:
    _, told = run(tmp_path, compose)

    assert [each for each in told if each.startswith("slept")] == ["slept 86400"] * 2
    issued = [each.split("--service ")[1].split()[0] for each in told if "--service" in each]
    assert issued == ISSUED * 2


def test_it_is_not_healthy_before_all_are_made(tmp_path: Path, compose: dict[str, Any]) -> None:
    status, told = run(tmp_path, compose, fails="node")

    assert status == 1
    assert not [each for each in told if each.startswith("slept")]
    assert not (tmp_path / "made").exists()


def test_it_stays_and_who_needs_certificates_waits_for_it(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert services["certs"]["restart"] == "unless-stopped"
    assert "/tmp/made" in services["certs"]["healthcheck"]["test"]
    waits = [name for name, each in services.items() if "certs" in each.get("depends_on", {})]
    assert {"scheduler", "analytics", "scheduler-a", "usage", "ams-analytics"} <= set(waits)
    for name in waits:
        assert services[name]["depends_on"]["certs"] == {"condition": "service_healthy"}
