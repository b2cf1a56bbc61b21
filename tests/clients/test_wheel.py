"""The client as it is published: a wheel that needs nothing of this repository."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.entry.fakes import SECRET, TEXT, FakeServer, listening, says

CLIENT = Path(__file__).parents[2] / "clients" / "python"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import constellation_client
assert constellation_client.__file__.startswith(sys.argv[1]), constellation_client.__file__
with constellation_client.AI(sys.argv[2]) as ai:
    print(ai.run(sys.argv[3], {"prompt": "hi"})["response"])
    for part in ai.run(sys.argv[3], {"prompt": "hi"}, stream=True):
        print(part["response"], end=" ")
ours = [name for name in sys.modules if name.partition(".")[0] in ("libs", "services")]
assert not ours, ours
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    (found,) = folder.glob("constellation_client-*.whl")
    return found


def test_it_holds_the_client_alone_and_needs_grpc_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        (about,) = [each for each in names if each.endswith("/METADATA")]
        metadata = files.read(about).decode()

    folders = {each.partition("/")[0].partition("-")[0] for each in names}
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert folders == {"constellation_client"}
    assert "constellation_client/py.typed" in names
    assert sorted(each.split()[1].rstrip(",<>=0123456789.") for each in needs) == [
        "grpcio",
        "protobuf",
    ]


async def test_it_runs_models_of_an_entry(wheel: Path) -> None:
    async with listening(FakeServer(says("ho")), http="", grpc="127.0.0.1:0") as bound:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            str(wheel),
            bound.grpc,
            TEXT,
            cwd=wheel.parent,
            env=os.environ | {"CONSTELLATION_TOKEN": SECRET},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await asyncio.wait_for(program.communicate(), 30)

    assert (program.returncode, said.decode().split()) == (0, ["ho", "ho"])
