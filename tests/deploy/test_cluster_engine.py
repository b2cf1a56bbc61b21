"""What the cluster's tests decide before there is an engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.base_images import FOLDERS, bases_of
from tests.cluster.engine import HERE, client, removals
from tests.cluster.images import default_base

KEPT_OPEN = "FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
SAVED = f"""
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -s 10.0.0.0/8 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A {KEPT_OPEN}
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_an_engines_rules_are_removed_and_no_others() -> None:
    assert removals(SAVED) == [
        ["-D", "FORWARD", "-j", "DOCKER-USER"],
        ["-D", *KEPT_OPEN.split()],
        ["-F", "DOCKER"],
        ["-F", "DOCKER-USER"],
        ["-X", "DOCKER"],
        ["-X", "DOCKER-USER"],
    ]
    assert removals("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n") == []


@pytest.mark.parametrize(
    ("versions", "buildx", "chosen"),
    [
        ((28, 20), False, 1),
        ((28, 20), True, 0),
        ((20, 28), False, 0),
        ((28,), False, 0),
    ],
    ids=["needs a plugin", "has the plugin", "the first one", "no other one"],
)
def test_the_client_is_one_that_can_build(
    versions: tuple[int, ...],
    buildx: bool,
    chosen: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, version in enumerate(versions):
        program = tmp_path / str(number) / "docker"
        program.parent.mkdir()
        says = f"echo Docker version {version}.0.1, build none"
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {says} || exit {int(not buildx)}\n')
        program.chmod(0o755)
    folders = [str(tmp_path / str(number)) for number in range(len(versions))]
    monkeypatch.setenv("PATH", os.pathsep.join(["/nowhere", *folders]))

    assert client() == f"{folders[chosen]}/docker"


def test_each_base_can_be_made_and_all_that_it_is_made_of() -> None:
    known = {*FOLDERS, "debian:bookworm-slim"}

    assert default_base(HERE.parents[1]) in known
    for folder in FOLDERS.values():
        assert set(bases_of(HERE / "bases" / folder)) <= known
