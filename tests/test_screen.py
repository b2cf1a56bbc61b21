"""What `constellation up` prints can be pasted."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Model
from libs.common.world import World
from libs.common.world_map import Instance, Node, Shard, Update
from services.embedded import Running
from services.entry.app import Config
from services.reaching import silent
from services.screen import announce, ready, screen
from tests.certificates import certified
from tests.fakes import put


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_the_calls_speak_what_the_port_speaks(is_secure: bool, tmp_path: Path) -> None:
    tls = certified(tmp_path)
    config = Config(tls_cert=tls.cert, tls_key=tls.key) if is_secure else Config()
    base = f"{config.scheme}://127.0.0.1:1"

    text = screen(world=World(), http=base, grpc="", account="a", token="t", pasted="t", took_s=1.0)

    calls = [line for line in text.splitlines() if " curl " in line]
    assert base.startswith("https" if is_secure else "http:")
    assert len(calls) == 3
    assert all(f" {base}/client/v4/accounts/a/ai/run/@cf/demo/" in line for line in calls)


def shown(*addresses: str, silent: tuple[str, ...] = (), is_external: bool = True) -> str:
    """The screen of a model that others run at these addresses."""
    world = World()
    put(world, Model(name="@cf/x/m", task="text-generation"))
    for each in addresses:
        found = Instance(id=each, model="@cf/x/m", colo="ams", address=each, state="ready")
        put(world, replace(found, external=is_external))
    where = {"http": "http://h:1", "grpc": "", "account": "a", "token": "t", "pasted": "t"}
    return screen(world=world, **where, took_s=1.0, memory_mb=9.0, silent=silent)


def test_a_model_at_whose_address_nobody_answers_is_not_shown_as_ready() -> None:
    text = shown("a:1", "b:1", silent=("b:1",))

    assert "1 ready, 1 silent" in text
    assert "nobody answers at b:1" in text
    assert "nobody" not in shown("a:1")


@pytest.mark.parametrize(("away_since_ms", "is_ready"), [(0, True), (5, False)])
def test_what_a_silent_node_had_before_is_not_ready(away_since_ms: int, is_ready: bool) -> None:
    world = World()
    world.apply(Update(version=1, complete=True))
    put(world, Model(name="m", task="text-generation"), Node(name="n", colo="ams"))
    put(world, Shard(model="m", colo="ams", index=0, owner="s", epoch=1))
    put(world, Instance(id="i", model="m", colo="ams", node="n", state="ready"))

    put(world, Node(name="n", colo="ams", away_since_ms=away_since_ms))

    assert ready(world, {"eu": ("ams",)}) is is_ready


def test_the_console_is_told_where_it_is() -> None:
    where = {"http": "http://h:1", "grpc": "", "account": "a", "token": "t", "pasted": "t"}

    without = screen(world=World(), **where, took_s=1.0)
    told = screen(world=World(), **where, took_s=1.0, console="http://h:1/console")

    assert "console" not in without
    assert "  console  http://h:1/console\n" in told


def test_the_memory_is_told_with_tritons_only_where_there_are_some() -> None:
    assert "in 9 MB\n" in shown("a:1")
    assert "in 9 MB with its Tritons\n" in shown("a:1", is_external=False)


async def test_it_is_seen_where_nobody_answers() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        here = [f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/v1"]
        assert await silent([*here, "127.0.0.1:1"]) == {"127.0.0.1:1"}
    assert await silent(here) == set(here)


async def test_the_token_is_printed_for_a_terminal_and_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    world.apply(Update(version=1, complete=True))
    running = Running(world=world, http="http://h:1", grpc="h:2")
    (tmp_path / "token").write_text("cst_made\n")

    async def printed(*, terminal: bool) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        await announce(running, state_dir=tmp_path, colos=(), began=0.0)
        return capsys.readouterr().out

    assert "Bearer cst_made" in await printed(terminal=True)
    unseen = await printed(terminal=False)
    assert "cst_made" not in unseen
    assert f"  token    in {tmp_path / 'token'}\n" in unseen
    assert 'Bearer $TOKEN"' in unseen
    monkeypatch.setenv("CONSTELLATION_TOKEN", "cst_given")
    assert "  token    in CONSTELLATION_TOKEN\n" in await printed(terminal=False)
