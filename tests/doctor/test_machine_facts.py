"""What a look at this machine sees, and that it takes nothing from anybody."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from services.doctor.machine_facts import look
from services.state_folder import state_folder

CONFIG = Path(__file__).parents[2] / "config"
NO_PORTS = {"CONSTELLATION_HTTP_PORT": "0", "CONSTELLATION_GRPC_PORT": "0"}


def test_who_holds_the_folder_is_told_and_keeps_it(folder: Path) -> None:
    with state_folder(folder, owner="up"):
        found = look(folder, CONFIG, NO_PORTS, runs=False)

        assert found.holders == {"up": os.getpid()}
        assert found.left == {}


def test_who_has_held_it_and_is_gone_is_told_and_another_may_take_it(folder: Path) -> None:
    with state_folder(folder, owner="server-s1"):
        pass

    found = look(folder, CONFIG, NO_PORTS, runs=False)

    assert (found.holders, found.left) == ({}, {"server-s1": os.getpid()})
    with (folder / "server-s1.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("mode", "is_loose"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_token_that_others_may_read_is_told(folder: Path, mode: int, is_loose: bool) -> None:
    folder.chmod(0o700)
    (folder / "token").touch()
    (folder / "token").chmod(mode)

    found = look(folder, CONFIG, NO_PORTS, runs=False)

    assert found.loose == ({folder / "token": mode} if is_loose else {})


def test_a_port_that_another_has_is_told(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        found = look(folder, CONFIG, {**NO_PORTS, "CONSTELLATION_HTTP_PORT": str(port)}, runs=False)

    assert found.taken_ports == (port,)


def test_a_configuration_that_nothing_starts_with_is_told(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "constellation.yaml").write_text("colos: [{name: x}]\nserver: {permitz: 1}\n")

    found = look(folder / "state", folder, NO_PORTS, runs=False)

    assert "permitz" in found.mistakes


@pytest.mark.parametrize(("env", "lacks"), [({}, True), ({"CONSTELLATION_TRITON": "h:1"}, False)])
def test_a_triton_that_is_not_set_up_is_told(
    folder: Path, env: dict[str, str], lacks: bool
) -> None:
    config = folder / "config"
    (config / "models").mkdir(parents=True)
    (folder / "m").mkdir()
    (folder / "m/config.pbtxt").touch()
    (config / "constellation.yaml").write_text("colos: [{name: x}]\n")
    (config / "models/m.yaml").write_text(
        "name: m\ntask: dumb-pipe\nbackend: {repository: m}\nscaling: {max: 1}\n"
    )

    found = look(folder / "state", config, {**NO_PORTS, **env}, runs=False)

    assert (found.mistakes, found.lacks_triton) == ("", lacks)
