"""The command line: every mistake is one line, and exit code 1 or 2."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from services.arguments import BENCHES
from services.commands import SERVICES, _parser, _shifted
from services.state_folder import Occupied, state_folder
from tests.short_dirs import short_dir

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
    """The one line that the command says, without what a slow machine makes services log."""
    done = constellation(*arguments, **{"CONSTELLATION_LOG_LEVEL": "critical"} | env)
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


def test_a_port_of_up_in_use_is_told_with_how_to_take_another(tmp_path: Path) -> None:
    (tmp_path / "config/models").mkdir(parents=True)
    (tmp_path / "config/constellation.yaml").write_text("colos: [{name: local}]\n")
    where = ("--config", f"{tmp_path}/config", "--state-dir", f"{tmp_path}/s")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = mistake("up", *where, "--http-port", port, CONSTELLATION_TRITON="127.0.0.1:1")

    assert line.startswith(f"constellation: cannot listen on 127.0.0.1:{port}: the port is in use")
    assert "CONSTELLATION_HTTP_PORT=8090 CONSTELLATION_GRPC_PORT=8091 make run" in line


@pytest.mark.parametrize("command", ["usage", "token create", "models list"])
def test_an_option_that_there_is_not_is_told_with_the_commands_own_usage(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser({}).parse_args([*command.split(), "--jsn"])

    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith(f"usage: constellation {command.removesuffix(' list')} ")
    assert "unrecognized arguments: --jsn" in told


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser({}).parse_args(["--version"])

    assert ended.value.code == 0
    assert re.fullmatch(r"constellation \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_every_option_that_is_no_setting_has_a_help_text() -> None:
    def without(parser: argparse.ArgumentParser) -> Iterator[str]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    yield from without(each)
            elif action.option_strings and not action.help:
                yield f"{parser.prog} {action.option_strings[0]}"

    told_elsewhere = (*SERVICES, "simulate")  # docs/settings.md and docs/simulate.md
    found = [each for each in without(_parser({})) if each.split()[1] not in told_elsewhere]
    assert found == []


@pytest.mark.parametrize("command", ["usage", "account list", "scale m", "explain m"])
def test_a_socket_that_a_killed_process_left_is_told(command: str) -> None:
    with short_dir() as folder:
        for name in ("control.sock", "usage.sock"):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(folder / name))
        line = mistake(*command.split(), "--state-dir", str(folder))

    assert line == f"constellation: nothing answers in {folder}: is up running?"


def test_what_only_some_commands_need_is_not_loaded_by_all() -> None:
    heavy = "{'numpy', 'jinja2', 'grpc', 'aiohttp'}"
    code = f"import sys, services.commands; sys.exit(str({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stderr == "set()\n"


@pytest.mark.parametrize("count", ["0", "-1", "257", "1.5", "many", ""])
def test_a_number_of_workers_that_cannot_be_is_told(
    count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser({}).parse_args(["entry", f"--workers={count}"])

    assert ended.value.code == 2
    assert f"--workers: expected 1 to 256, got '{count}'" in capsys.readouterr().err


def test_workers_on_a_port_in_use_are_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        several = ("--workers", "2", "--state-dir", str(tmp_path))
        line = mistake("entry", *several, "--http", address, "--grpc", "")

    assert line == f"constellation: cannot listen on {address}: Address already in use"


def test_each_worker_shows_its_metrics_on_the_next_port() -> None:
    assert [_shifted("127.0.0.1:9195", by) for by in (0, 1)] == ["127.0.0.1:9195", "127.0.0.1:9196"]
    assert _shifted("[::1]:9195", 2) == "[::1]:9197"
    assert _shifted("", 1) == ""


@contextmanager
def two_workers(state: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run two entries on one port; yield their parent, and where they are once both are up."""
    command = ("entry", "--workers", "2", "--state-dir", str(state))
    parent = subprocess.Popen(
        [sys.executable, "-m", "services.cli", *command, "--http", "127.0.0.1:0", "--grpc", ""],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    workers: list[int] = []
    assert parent.stdout is not None
    try:
        told = [parent.stdout.readline() for _ in range(3)]
        workers = children(parent.pid)
        assert sorted(line.count("2 workers") for line in told) == [0, 0, 1]
        yield parent, told[0].partition("http ")[2].partition(",")[0]
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert ended(workers)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pids: list[int]) -> bool:
    """Whether these processes end within a while."""
    until = time.monotonic() + 10
    while alive := [each for each in pids if Path(f"/proc/{each}").exists()]:
        if time.monotonic() > until:
            raise AssertionError(f"still there: {alive}")
        time.sleep(0.05)
    return True


def is_healthy(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
        return bool(answer.status == 200)


@pytest.mark.xdist_group("up")
def test_a_worker_that_dies_is_started_again_and_all_end_in_order(tmp_path: Path) -> None:
    with two_workers(tmp_path) as (parent, address):
        one, other = children(parent.pid)
        os.kill(one, signal.SIGKILL)
        assert parent.stdout is not None

        assert "entry is up" in parent.stdout.readline()
        again = children(parent.pid)
        assert other in again
        assert len(again) == 2
        assert one not in again
        assert all(is_healthy(address) for _ in range(8))
        parent.terminate()
        assert parent.wait(timeout=30) == 0
        assert ended(again)


@pytest.mark.xdist_group("up")
def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    with two_workers(tmp_path) as (parent, address):
        workers = children(parent.pid)
        assert is_healthy(address)

        parent.kill()
        parent.wait()

        assert ended(workers)


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_that_can_be_named_is_there(name: str) -> None:
    assert callable(import_module(f"bench.{name}").main)


def test_a_transport_that_there_is_not_is_told(tmp_path: Path) -> None:
    line = mistake("entry", "--state-dir", str(tmp_path), "--transport", "quick")

    assert line.endswith("entry.transport: input should be 'lean' or 'grpcio', got 'quick'")


@pytest.mark.parametrize("file", ["token", "control.db", "events.duckdb"])
def test_a_file_in_the_state_folder_that_is_broken_is_told(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"\xff garbage" * 500)
    command = "analytics" if file == "events.duckdb" else "scheduler"
    listen = () if command == "analytics" else ("--listen", "127.0.0.1:0")

    line = mistake(command, "--state-dir", str(tmp_path), *listen)

    assert str(tmp_path / file) in line


def test_up_ends_where_analytics_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "events.duckdb").write_bytes(b"\xff garbage" * 500)

    ports = "--http-port", "0", "--grpc-port", "0"
    done = constellation("up", *ports, "--state-dir", str(tmp_path))

    assert done.returncode == 1
    why, what = done.stderr.splitlines()
    assert str(tmp_path / "events.duckdb") in why
    assert what == "constellation: analytics could not start: exit code 1"


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
