"""The command line: every mistake is one line, and exit code 1 or 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.commands import _parser
from services.state_folder import Occupied, state_folder

ROOT = Path(__file__).parents[1]


def constellation(*arguments: str, **env: str | bytes) -> subprocess.CompletedProcess[str]:
    found = {os.fsencode(name): os.fsencode(value) for name, value in (os.environ | env).items()}
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env=found,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def mistake(*arguments: str, **env: str | bytes) -> str:
    """The one line that the command says."""
    done = constellation(*arguments, **env)
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("address", ["foo", "foo:", ":80", "host:99999", "::1:8001"])
def test_a_triton_that_is_no_address_is_told(tmp_path: Path, address: str) -> None:
    line = mistake("up", "--state-dir", str(tmp_path), CONSTELLATION_TRITON=address)

    assert line.startswith("constellation: CONSTELLATION_TRITON: expected ")


def test_a_token_that_no_header_can_hold_is_told(tmp_path: Path) -> None:
    for token in (b"\xff\xfe", b"a b", "grün".encode()):
        line = mistake("up", "--state-dir", str(tmp_path), CONSTELLATION_TOKEN=token)

        assert line == "constellation: CONSTELLATION_TOKEN: expected printable ASCII without spaces"


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:99999"])
def test_an_address_for_metrics_that_is_none_is_told(tmp_path: Path, address: str) -> None:
    done = constellation("analytics", "--state-dir", str(tmp_path), "--metrics", address)

    assert done.returncode == 2
    assert f"--metrics: expected host:port, got '{address}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = mistake("analytics", "--state-dir", str(tmp_path), "--listen", address)

    assert line == f"constellation: cannot listen on {address}: the port is in use"


@pytest.mark.parametrize("file", ["token", "control.db", "events.duckdb"])
def test_a_file_in_the_state_folder_that_is_broken_is_told(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"\xff garbage" * 500)
    command = "analytics" if file == "events.duckdb" else "scheduler"
    listen = () if command == "analytics" else ("--listen", "127.0.0.1:0")

    line = mistake(command, "--state-dir", str(tmp_path), *listen)

    assert str(tmp_path / file) in line


def test_a_region_that_there_is_not_is_told(tmp_path: Path) -> None:
    (tmp_path / "config/models").mkdir(parents=True)
    (tmp_path / "config/constellation.yaml").write_text("colos: [{name: a, region: eu}]\n")
    (tmp_path / "config/models/m.yaml").write_text(
        "name: m\ntask: text-generation\nbackend: {external: ['h:1']}\n"
        "scaling: {region: {atlantis: {min: 0}}}\n"
    )

    line = mistake("scheduler", "--config", f"{tmp_path}/config", "--state-dir", f"{tmp_path}/s")

    assert "m.yaml:4: scaling.region.atlantis: no colo is in this region; there are: eu" in line


def test_an_ipv6_host_comes_in_brackets() -> None:
    assert _parser({}).parse_args(["up", "--host", "::1"]).host == "[::1]"


def test_a_folder_in_use_is_told_and_what_happens_inside_is_not_taken_for_it(
    tmp_path: Path,
) -> None:
    with state_folder(tmp_path, owner="up"):
        again = state_folder(tmp_path, owner="up")
        with pytest.raises(Occupied, match=f"in use by another .* .pid {os.getpid()}."), again:
            pass

    with pytest.raises(BlockingIOError), state_folder(tmp_path, owner="up"):
        raise BlockingIOError("something else")
