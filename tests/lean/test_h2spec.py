"""h2spec, which holds servers to RFC 9113 and 7541, and h2load, which only wants to be served."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from libs.lean import Limits
from tests.lean.support import ECHO, serving
from tests.lean.wire import message

TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
SUITES = ("generic", "http2", "hpack")
# These take for granted that a dynamic table of 4 KiB is allowed, whatever the server announces.
WANT_A_TABLE = ["Sends a dynamic table size update", "Sends multiple dynamic table size update"]


def tool(name: str, how: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(TOOLS))
    if found is None:
        pytest.skip(f"{name} is neither in PATH nor in .tools/bin: {how}")
    return found


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(50):
        output, _ = await process.communicate()
    return output.decode(errors="replace")


@pytest.mark.parametrize(
    ("table_bytes", "failing"),
    [(4096, []), (0, WANT_A_TABLE)],
    ids=["with a dynamic table", "as we are"],
)
async def test_h2spec_finds_nothing(table_bytes: int, failing: list[str]) -> None:
    h2spec = tool("h2spec", "go install github.com/summerwind/h2spec/cmd/h2spec@latest")
    async with serving(limits=Limits(header_table_bytes=table_bytes)) as (address, _):
        host, port = address.split(":")

        output = await run(h2spec, *SUITES, "-h", host, "-p", port, "-o", "2")

    _, _, failures = output.partition("Failures:")
    assert re.findall("\N{MULTIPLICATION SIGN} (?:[0-9]+: )?(.*)", failures) == failing
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output)
    assert counts is not None, output
    assert int(counts[1]) >= 140
    assert [int(counts[3]), int(counts[4])] == [0, len(failing)]


async def test_h2load_is_served(tmp_path: Path) -> None:
    h2load = tool("h2load", "apt-get install nghttp2-client")
    body = tmp_path / "body"
    body.write_bytes(message(b"x" * 200))
    grpc = ("-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(body))
    async with serving() as (address, handlers):
        load = ("-n", "2000", "-c", "4", "-m", "32")

        output = await run(h2load, *load, *grpc, f"http://{address}{ECHO.path}")

        assert "2000 done, 2000 succeeded, 0 failed, 0 errored" in output
        assert len(handlers.calls) == 2000
