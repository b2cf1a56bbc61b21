"""`constellation run`: what it prints, what it refuses, and that every mistake is one line."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from constellation_client import Binary

from libs.common.errors import ModelFailed, NeuronsUsedUp, OutOfCapacity, StreamLost
from services.run_cli.command import _print as printed
from services.run_cli.inputs import CannotRun, inputs_of, options_of
from tests.entry.fakes import SECRET, TEXT, VECTORS, FakeServer, listening, says, vectors

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\nimage"
HI = '{"prompt": "hi"}'


class Ran:
    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def line(self) -> str:
        """The one line that went wrong."""
        (line,) = self.err.decode().splitlines()
        assert (self.code, self.out) == (1, b"")
        return line.removeprefix("constellation: ")


async def run(
    *arguments: str, stdin: bytes = b"", token: str = SECRET, stdout: int | None = None
) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli", "run", *arguments),
        cwd=ROOT,
        env=os.environ | {"CONSTELLATION_TOKEN": token},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 40)
    return Ran(process.returncode or 0, out or b"", err)


async def asked(server: FakeServer, *arguments: str, **rest: Any) -> Ran:
    async with listening(server, http="", grpc="127.0.0.1:0") as bound:
        return await run(*arguments, "--address", bound.grpc, **rest)


async def test_the_answer_is_printed_as_json() -> None:
    ran = await asked(FakeServer(says("ho", "stop")), TEXT, HI)

    assert (ran.code, ran.err) == (0, b"")
    assert orjson.loads(ran.out)["response"] == "ho"


async def test_a_stream_is_printed_as_text() -> None:
    ran = await asked(FakeServer(says("a"), says("ü")), TEXT, HI, "--stream")

    assert (ran.code, ran.out.decode()) == (0, "aü\n")


async def test_a_stream_of_a_task_without_text_is_json() -> None:
    ran = await asked(FakeServer(vectors([0.5])), VECTORS, '{"text": "a"}', "--stream")

    assert orjson.loads(ran.out)["data"] == [[0.5]]


async def test_inputs_come_from_stdin_and_options_reach_the_call() -> None:
    server = FakeServer(says("ho"))
    options = ("--option", "rejectIfBusy=true", "--option", "sessionAffinity=s")

    await asked(server, TEXT, "-", *options, stdin=HI.encode())

    (sent,) = server.requests
    assert (sent.reject_if_busy, sent.session) == (True, "s")


async def test_json_goes_into_a_file(tmp_path: Path) -> None:
    ran = await asked(FakeServer(says("ho")), TEXT, HI, "--output", str(tmp_path / "a.json"))

    assert ran.out == b""
    assert orjson.loads((tmp_path / "a.json").read_bytes())["response"] == "ho"


async def test_the_token_is_that_of_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET + "\n")
    ran = await asked(FakeServer(says("ho")), TEXT, HI, "--state-dir", str(tmp_path), token="")

    assert ran.code == 0


async def test_mistakes_are_one_line(tmp_path: Path) -> None:
    here = str(tmp_path)
    assert (await run(TEXT, HI, "--state-dir", here, token="")).line.startswith("no token: set ")
    broken = await run(TEXT, '{"prompt": }')
    assert broken.line.startswith("inputs: not valid JSON at line 1 column 12: ")
    nobody = await run(TEXT, HI, "--address", "127.0.0.1:1", "--timeout", "2")
    assert nobody.line.startswith("nobody answers at 127.0.0.1:1: is it up, ")
    assert "--address names another" in nobody.line
    assert (await run(TEXT, HI, "--option", "temper=1")).line == "--option: there is no temper"


@pytest.mark.parametrize(
    ("server", "arguments", "line"),
    [
        (FakeServer(), (TEXT, '{"prompt": 1}'), "prompt: "),
        (FakeServer(), ("no", HI), "No such model no or task (unknown_model, 5007)"),
        (FakeServer(ModelFailed("bad")), (TEXT, HI), "bad (model_failed, 3044)"),
        (
            FakeServer(OutOfCapacity("full")),
            (TEXT, HI, "--option", "rejectIfBusy=true"),
            "full (out_of_capacity, 3040); try again in 1 s",
        ),
        (
            FakeServer(NeuronsUsedUp("no more until midnight UTC", retry_after_ms=60_000)),
            (TEXT, HI),
            "no more until midnight UTC (neurons_used_up, 3036)",
        ),
    ],
    ids=["a field", "no such model", "it failed", "busy", "not today"],
)
async def test_what_the_server_says_is_one_line(
    server: FakeServer, arguments: tuple[str, ...], line: str
) -> None:
    told = (await asked(server, *arguments)).line

    assert told.startswith(line)
    assert ("try again" in told) == ("try again" in line)


async def test_a_stream_that_breaks_says_so_after_what_came() -> None:
    server = FakeServer(says("a"), StreamLost("broke"))
    async with listening(server, http="", grpc="127.0.0.1:0", continue_times=0) as bound:
        ran = await run(TEXT, HI, "--stream", "--address", bound.grpc)

    assert (ran.code, ran.out) == (1, b"a")
    assert ran.err.decode().splitlines()[-1].startswith("constellation: broke (stream_lost, 3045)")


class Screen(io.TextIOWrapper):
    """A terminal, or a pipe."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def test_bytes_go_into_a_file_or_a_pipe_and_never_to_a_terminal(tmp_path: Path) -> None:
    image, pipe, terminal = (
        Binary(PNG, "image/png"),
        Screen(is_terminal=False),
        Screen(is_terminal=True),
    )

    printed(image, tmp_path / "a.png", terminal)
    printed(image, None, pipe)
    with pytest.raises(CannotRun, match="the answer is 13 bytes of image/png: give --output FILE"):
        printed(image, None, terminal)
    with pytest.raises(CannotRun, match=r"--output .*: No such file"):
        printed(image, tmp_path / "none" / "a.png", pipe)

    assert (tmp_path / "a.png").read_bytes() == PNG
    assert (pipe.buffer.getvalue(), terminal.buffer.getvalue()) == (PNG, b"")  # type: ignore[attr-defined]


FILES = {"cat.png": PNG, "a.wav": b"RIFF", "b.bin": b"\0"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "said", "inputs", "kind"),
    [
        ('{"a": 1}', [], {"a": 1}, ""),
        (None, ["cat.png"], PNG, "image/png"),
        (None, ["b.bin"], b"\0", "application/octet-stream"),
        (None, ["image=cat.png"], {"image": PNG}, ""),
        ('{"prompt": "x"}', ["cat.png"], {"prompt": "x", "image": PNG}, ""),
        ("{}", ["a.wav", "mask=b.bin"], {"audio": b"RIFF", "mask": b"\0"}, ""),
    ],
)
def test_files_are_a_body_or_fields(
    files: Path, text: str | None, said: list[str], inputs: Any, kind: str
) -> None:
    assert inputs_of(text, said) == (inputs, kind)


@pytest.mark.parametrize(
    ("text", "said", "words"),
    [
        (None, [], "inputs: expected JSON"),
        ("[1]", [], "inputs: expected a JSON object"),
        ("", [], "inputs: not valid JSON at line 1 column 1"),
        ('{\n"a" 1}', [], "line 2 column 5"),
        ("{}", ["none.png"], "--file none.png: No such file or directory"),
        (None, ["."], "--file .: Is a directory"),
        ("{}", ["b.bin"], "--file b.bin: it is not known for what: give --file FIELD=b.bin"),
        ('{"image": 1}', ["cat.png"], "the inputs have the field 'image' already"),
    ],
)
def test_bad_inputs_are_told_with_their_place(
    files: Path, text: str | None, said: list[str], words: str
) -> None:
    with pytest.raises(CannotRun) as refused:
        inputs_of(text, said)

    assert words in str(refused.value)


@pytest.mark.parametrize("said", ["rejectIfBusy", "=1"])
def test_an_option_without_name_or_value_is_refused(said: str) -> None:
    with pytest.raises(CannotRun, match="expected NAME=VALUE"):
        options_of([said])
    assert options_of(["maxQueueMs=5"]) == {"max_queue_ms": "5"}
