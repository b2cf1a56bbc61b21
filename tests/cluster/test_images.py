"""The images: what is in them, and how a container of one behaves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.cluster.containers import Container, Tell, container, docker, output
from tests.cluster.images import SECRET_FILES
from tests.system.harness import CHAT, EMBED, TOKEN, Client, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UID = "10001"
BOTH = pytest.mark.parametrize("target", ["constellation", "triton"])
HOT = "from libs import compiled; compiled.use(); import services.entry.gateway as m; print(m)"
Images = dict[str, str]


@contextmanager
def running_up(images: Images, *flags: str) -> Iterator[Container]:
    """`up` in a container of the image with Triton, read-only."""
    given = ("-p", "127.0.0.1::8080", "-e", f"CONSTELLATION_TOKEN={TOKEN}", "--tmpfs", "/tmp")
    with container(images["triton"], flags=(*given, *flags)) as up:
        yield up


@pytest.fixture(scope="module")
def up(images: Images) -> Iterator[Container]:
    """One that no test harms."""
    with running_up(images) as up:
        up.wait_until("healthy", seconds=90)
        yield up


@pytest.fixture
def client(up: Container) -> Iterator[Client]:
    """Calls it from outside."""
    with closing(Client(up.port(8080))) as client:
        yield client


# --- what is in them ---


@BOTH
def test_the_image_tells_its_version_read_only_and_without_a_network(
    images: Images, target: str
) -> None:
    assert output(images[target], "--version") == "constellation 0.1.0"


@BOTH
def test_its_size_is_told(images: Images, target: str, told: Tell) -> None:
    size = int(docker("image", "inspect", "-f", "{{.Size}}", images[target]))
    base = int(docker("image", "inspect", "-f", "{{.Size}}", images["base"]))

    told(f"image {images[target]}: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} above its base")
    assert size - base < {"constellation": 330e6, "triton": 800e6}[target]


@BOTH
def test_the_hot_path_is_compiled(images: Images, target: str) -> None:
    assert ".so'>" in output(images[target], "-c", HOT, entrypoint="python3")


@BOTH
def test_every_extension_can_be_loaded_stripped_as_it_is(images: Images, target: str) -> None:
    load = "import ctypes, pathlib, re; files = pathlib.Path('/app').glob('*/lib/**/*.so')\n"
    load += "files = [each for each in map(str, files) if re.search('cpython-|abi3', each)]\n"
    load += "for each in files: ctypes.CDLL(each)\nprint(len(files))"

    assert int(output(images[target], "-c", load, entrypoint="python3")) > 50


@BOTH
def test_nothing_but_the_state_folder_can_be_written_by_its_user(
    images: Images, target: str
) -> None:
    look = "find / -xdev -writable ! -type l ! -path '/proc/*' 2>/dev/null; id -u; id -g"
    found = output(images[target], "-c", look, entrypoint="sh")

    *writable, user, group = found.splitlines()
    assert (user, group) == (UID, UID)
    usual = {"/tmp", "/var/tmp", "/run/lock"}  # for everybody, and read-only here
    assert set(writable) - usual <= {"/var/lib/constellation"}


@BOTH
@pytest.mark.parametrize("name", ["gcc", "cc", "uv", "git"])
def test_what_only_building_needs_is_not_there(images: Images, target: str, name: str) -> None:
    look = f"command -v {name} || echo none"

    assert output(images[target], "-c", look, entrypoint="sh") == "none"


@BOTH
def test_only_what_runs_is_there(images: Images, target: str) -> None:
    found = output(images[target], "-A", "/app", entrypoint="ls").split()

    ours = {"bench", "build", "clients", "config", "demo", "libs", "models", "services"}
    files = {"LICENSE", "README.md", "pyproject.toml", ".venv"}
    assert set(found) == ours | files | ({".triton"} if target == "triton" else set())


@BOTH
def test_no_file_of_state_or_with_a_secret_gets_into_it(images: Images, target: str) -> None:
    names = " -o ".join(f"-name '{each}'" for each in SECRET_FILES)
    look = f"find /app -path '*/site-packages' -prune -o \\( {names} \\) -print"

    assert output(images[target], "-c", look, entrypoint="sh") == ""


@BOTH
def test_its_history_names_no_registry(images: Images, target: str) -> None:
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", images[target])

    assert "://" not in history.replace("http://127.0.0.1:", "")


# --- how a container behaves ---


def test_up_answers_calls_read_only_and_without_root(
    up: Container, client: Client, told: Tell
) -> None:
    answer = client.run(CHAT, prompt="Hello!", max_tokens=20)
    vectors = client.run(EMBED, text=["a cat", "a kitten"])

    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["response"]
    assert vectors.json()["result"]["shape"] == [2, 384]
    assert up.facts["HostConfig"]["ReadonlyRootfs"]
    assert {line.split()[0] for line in processes(up)} == {UID}
    told(f"image of up: {len(processes(up))} processes, all of user {UID}")


def processes(of: Container) -> list[str]:
    """The user and the command of each process."""
    return [
        line.split(maxsplit=1)[1]
        for line in docker("top", of.name, "-eo", "pid,uid,args").splitlines()[1:]
    ]


def test_the_first_process_reaps_orphans(up: Container) -> None:
    up.execute("sh", "-c", "sleep 0.1 &")
    time.sleep(1)

    states = up.execute("sh", "-c", "cat /proc/[0-9]*/stat").splitlines()
    assert [line for line in states if " S " in line]
    assert not [line for line in states if " Z " in line]


def test_up_answers_again_after_its_tritons_were_killed(
    images: Images, up: Container, client: Client
) -> None:
    assert client.run(CHAT, prompt="Hello!").status_code == 200

    up.signal(signal.SIGKILL, "bin/tritonserver")

    until(lambda: client.run(CHAT, prompt="Hello!").status_code == 200, seconds=60, what="answers")


def test_sigterm_lets_a_stream_come_to_its_end(images: Images, told: Tell) -> None:
    with running_up(images) as up:
        healthy_s = up.wait_until("healthy", seconds=90)
        with closing(Client(up.port(8080))) as client:
            assert client.run(CHAT, prompt="Hello!").status_code == 200
            url = f"{client.account}/ai/run/{CHAT}"
            body = {"prompt": "A long story.", "stream": True, "max_tokens": 400}
            lines: list[str] = []
            with client.http.stream("POST", url, json=body) as answer:
                parts = answer.iter_lines()
                lines.append(next(parts))
                codes: list[int] = []
                stopping = threading.Thread(target=lambda: codes.append(up.stop(seconds=30)))
                began = time.monotonic()
                stopping.start()
                lines += parts
            stopping.join()

        assert answer.status_code == 200
        assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"
        assert codes == [0]
        told(
            f"up in a container: healthy after {healthy_s:.1f} s,"
            f" ended {time.monotonic() - began:.1f} s after SIGTERM under a stream"
        )


def test_what_is_in_the_state_volume_outlives_the_container(images: Images) -> None:
    volume = docker("volume", "create", "--label", "constellation.tests")
    flags = ("-v", f"{volume}:/var/lib/constellation")
    try:
        tokens = []
        for _ in range(2):
            with container(images["constellation"], "scheduler", flags=flags) as scheduler:
                scheduler.wait_until("healthy", seconds=60)
                tokens.append(scheduler.execute("cat", "/var/lib/constellation/token"))
                assert scheduler.stop(seconds=20) == 0
    finally:
        docker("volume", "rm", volume)

    assert tokens[0] == tokens[1] != ""


@pytest.mark.parametrize("command", ["analytics", "scheduler"])
def test_the_health_check_tells_a_service_that_hangs(images: Images, command: str) -> None:
    quick = ("--health-interval", "1s", "--health-timeout", "1s", "--health-retries", "2")

    with container(images["constellation"], command, flags=quick) as service:
        service.wait_until("healthy", seconds=60)
        service.signal(signal.SIGSTOP, f"constellation {command}")
        service.wait_until("unhealthy", seconds=60)


def test_a_service_that_cannot_be_ready_is_not_healthy(images: Images) -> None:
    flags = ("-e", "CONSTELLATION_HEALTH=http://127.0.0.1:8080/readyz", "--health-interval", "1s")
    command = ("entry", "--control", "127.0.0.1:1", "--http", "0.0.0.0:8080")

    with container(images["constellation"], *command, flags=flags) as entry:
        time.sleep(4)

        assert entry.health != "healthy"
        entry.stop(seconds=30)
