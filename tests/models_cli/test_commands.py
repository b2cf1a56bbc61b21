"""`constellation models`: an address becomes a model of a running control, in one command."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from libs.common.catalog_files import load_catalog
from libs.common.yaml_files import Problems
from services.commands import _parser
from services.control.app import Config, build, serve
from services.models_cli.commands import models
from services.models_cli.guessing import CannotTell
from tests.short_dirs import short_dir

NAME = "@cf/me/llama"
OTHER = """\
name: other
task: text-generation
backend: {kind: openai_http, dialect: vllm, external: [URL]}
scaling: {region: {mars: {max: 0}}}
"""


class VllmServer:
    """Serves two models: one chats, the other makes vectors."""

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.listed = [{"id": "org/Chat-1", "owned_by": "vllm", "max_model_len": 8192}]
        self.chats = True

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/embeddings", self._embed),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "no"}, status=401)
        return web.json_response({"object": "list", "data": self.listed})

    async def _chat(self, _: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "Hello!"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]}, status=200 if self.chats else 404)

    async def _embed(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"index": 0, "embedding": [0.5, 0.25]}]})


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_dir() as path:
        (path / "config" / "models").mkdir(parents=True)
        yield path


async def ran(folder: Path, *arguments: str) -> None:
    given = ["models", *arguments, "--config", str(folder / "config")]
    await models(_parser({}).parse_args([*given, "--state-dir", str(folder)]))


def written(folder: Path) -> Any:
    (path,) = (folder / "config/models").glob("*.yaml")
    return yaml.safe_load(path.read_text("utf-8"))


@asynccontextmanager
async def control(folder: Path) -> AsyncIterator[None]:
    settings = Config(state_dir=folder, listen="", catalog_dir=folder / "config", catalog_s=0.05)
    async with serve(settings, build(settings, catalog=())):
        yield


async def test_a_servers_address_becomes_a_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with VllmServer().serving() as url:
        await ran(folder, "add", NAME, "--url", url, "--alias", "gpt-4o")

    model = written(folder)
    assert model["task"] == "text-generation"
    assert model["backend"] == {
        "kind": "openai_http",
        "dialect": "vllm",
        "served_as": "org/Chat-1",
        "external": [url],
    }
    assert model["listing"]["properties"] == {"context_window": 8192}
    assert model["aliases"] == ["gpt-4o"]
    assert f"{NAME} at {url}: answered in" in capsys.readouterr().out


async def test_what_does_not_chat_but_makes_vectors_is_known(folder: Path) -> None:
    server = VllmServer()
    server.chats = False
    async with server.serving() as url:
        await ran(folder, "add", NAME, "--url", url)

    assert written(folder)["task"] == "text-embeddings"


async def test_a_running_control_takes_a_model_up_and_gives_it_up(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with VllmServer().serving() as url, control(folder):
        await ran(folder, "add", NAME, "--url", url)
        assert "has taken it up" in capsys.readouterr().out

        await ran(folder, "list")
        assert NAME in capsys.readouterr().out

        await ran(folder, "remove", NAME)
        assert "serves it no more" in capsys.readouterr().out


async def test_a_file_with_a_mistake_leaves_the_running_catalog_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with VllmServer().serving() as url, control(folder):
        await ran(folder, "add", NAME, "--url", url)
        (folder / "config/models/bad.yaml").write_text("name: x\n")
        await asyncio.sleep(0.3)
        (folder / "config/models/bad.yaml").unlink()
        await ran(folder, "list", "--json")

    assert "the catalog stays as it was: config/models/bad.yaml:1: task: required" in caplog.text
    assert NAME in capsys.readouterr().out


async def test_a_key_is_kept_where_servers_look(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "vllm-key").write_text("secret\n")
    async with VllmServer(key="secret").serving() as url:
        with pytest.raises(CannotTell, match="wants a key"):
            await ran(folder, "add", NAME, "--url", url)
        await ran(folder, "add", NAME, "--url", url, "--key", str(folder / "vllm-key"))

    assert written(folder)["backend"]["key"] == "vllm-key"
    assert f"copied the key to {folder / 'keys/vllm-key'}" in capsys.readouterr().out
    assert (folder / "keys/vllm-key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", NAME], "give either --url or --repository"),
        (["add"], "expected a model's name"),
        (["add", NAME, "--url", "ftp://x"], "expected http://"),
        (
            ["add", NAME, "--url", "http://127.0.0.1:1"],
            "models: cannot connect: Connection refused$",
        ),
        (["add", NAME, "--url", "https://127.0.0.1:1"], "cannot connect: Connection refused$"),
        (["add", NAME, "--url", "http://no.such.host.invalid"], "there is no host no.such.host"),
        (["add", NAME, "--url", "gpu"], "--url: expected host:port, got 'gpu', such as gpu:8001"),
        (["add", NAME, "--url", "grpc://127.0.0.1:1"], "no Triton answers there"),
        (["add", NAME, "--repository", "nowhere"], "expected the folder of one Triton model"),
        (["remove", NAME], "no file of"),
        (["check", NAME], "there is no model"),
    ],
)
async def test_what_cannot_be_done_is_told_in_words(
    folder: Path, arguments: list[str], words: str
) -> None:
    with pytest.raises(CannotTell, match=words):
        await ran(folder, *arguments)

    assert not list((folder / "config/models").iterdir())


async def test_a_port_where_nobody_speaks_http_is_told(folder: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CannotTell, match="it speaks no HTTP: is the port right"):
            await ran(folder, "add", NAME, "--url", f"http://127.0.0.1:{port}")


async def test_what_would_be_no_catalog_is_never_in_the_running_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "key").write_text("secret\n")
    async with VllmServer().serving() as url, control(folder):
        with pytest.raises(Problems, match=r"me-llama.yaml:.*'gone' is not in the catalog"):
            await ran(
                *(folder, "add", NAME, "--url", url, "--fallback", "gone"),
                *("--key", str(folder / "key")),
            )
        await asyncio.sleep(0.2)

    assert not list((folder / "config/models").iterdir())
    assert not (folder / "keys").exists()
    assert "the catalog stays as it was" not in caplog.text


async def test_a_model_that_others_fall_back_to_is_not_removed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with VllmServer().serving() as url, control(folder):
        await ran(folder, "add", NAME, "--url", url)
        await ran(folder, "add", "@cf/me/other", "--url", url, "--fallback", NAME)

        with pytest.raises(Problems, match="is not in the catalog"):
            await ran(folder, "remove", NAME)
        await asyncio.sleep(0.2)

    assert "the catalog stays as it was" not in caplog.text
    assert len(load_catalog(folder / "config", root=folder).models) == 2


async def test_a_model_that_is_staged_in_a_colo_is_not_removed(folder: Path) -> None:
    async with VllmServer().serving() as url, control(folder):
        await ran(folder, "add", NAME, "--url", url)
        (path,) = (folder / "config/models").iterdir()
        (folder / "config/staged/ams").mkdir(parents=True)
        shutil.copyfile(path, folder / "config/staged/ams/it.yaml")

        with pytest.raises(Problems, match=f"^config/staged/ams/it.yaml:1: name: '{NAME}' is not"):
            await ran(folder, "remove", NAME)

    assert path.exists()


async def test_nothing_is_added_beside_a_file_that_control_refuses(folder: Path) -> None:
    (folder / "config/models/x.yml").touch()
    async with VllmServer().serving() as url:
        with pytest.raises(Problems, match=r"x\.yml: nothing reads it"):
            await ran(folder, "add", NAME, "--url", url)


async def test_a_removal_that_control_does_not_take_up_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with VllmServer().serving() as url, control(folder):
        await ran(folder, "add", NAME, "--url", url)
        (folder / "config/constellation.yaml").write_text("colos: [{name: ams}]\n")
        (folder / "config/models/other.yaml").write_text(  # only with the colos it is wrong
            OTHER.replace("URL", url)
        )
        monkeypatch.setattr("services.models_cli.commands.TAKEN_UP_S", 2.0)

        with pytest.raises(CannotTell, match=r"has not taken this up: .*no colo is in this region"):
            await ran(folder, "remove", NAME)


async def test_models_are_listed_while_an_edit_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with VllmServer().serving() as url, control(folder):
        await ran(folder, "add", NAME, "--url", url)
        (folder / "config/models/bad.yaml").write_text("name: x\n")
        capsys.readouterr()

        await ran(folder, "list", "--json")

    printed = capsys.readouterr()
    assert [each["name"] for each in json.loads(printed.out)] == [NAME]
    assert "an edit is refused" in printed.err
    assert "config/models/bad.yaml:1: task: required" in printed.err
    with pytest.raises(Problems, match="task: required"):
        await ran(folder, "list")


async def test_a_check_says_what_is_wrong_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = VllmServer()
    async with server.serving() as url:
        await ran(folder, "add", NAME, "--url", url)
        server.listed = [{"id": "another"}]

        with pytest.raises(SystemExit):
            await ran(folder, "check", NAME)

    assert "WRONG: it serves no 'org/Chat-1' but another" in capsys.readouterr().out
