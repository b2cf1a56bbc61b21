"""/console: its files, what they may load, and what the page asks for besides the public API."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from libs.common.catalog import Access, Model
from libs.common.explanation import Explanation, Question
from libs.common.limit_shares import Shares
from libs.common.tokens import token_hash
from libs.common.world import World
from libs.common.world_map import Decision, Ref, Token, Update
from services.entry.app import Config, Entry, serve
from services.entry.fronts.console_page import FOLDER, TYPES
from tests.entry.fakes import (
    BLOCKED_SECRET,
    EXPIRED_SECRET,
    OTHER_ACCOUNT,
    OTHER_SECRET,
    PRIVATE,
    SECRET,
    TEXT,
    VECTORS,
    FakeServer,
    entry_of,
    small_world,
)
from tests.fakes import put

FILES = sorted(str(each.relative_to(FOLDER)) for each in FOLDER.rglob("*") if each.is_file())
ROOT = Path(__file__).parents[2]


def decision(at_ms: int, region: str = "eu") -> Decision:
    return Decision(
        model=TEXT,
        region=region,
        at_ms=at_ms,
        demand=2.5,
        forecast=4.0,
        running=1,
        required=2,
        desired=2,
    )


class Decisions:
    """Explains with these, and keeps what it was asked."""

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = decisions
        self.asked: list[Question] = []

    async def explain(self, question: Question) -> Explanation:
        self.asked.append(question)
        return Explanation(decisions=self.decisions)


@asynccontextmanager
async def console(
    world: World | None = None, explains: Any = None, **config: Any
) -> AsyncIterator[tuple[Entry, ClientSession]]:
    settings: dict[str, Any] = {"colo": "ams", "http": "127.0.0.1:0", "grpc": "", "drain_s": 5.0}
    entry = entry_of(
        world or small_world("ams"),
        {"ams": FakeServer()},
        config=Config(**(settings | {"console_s": 0.05} | config)),
        explains=explains,
    )
    async with serve(entry.config, entry) as bound, ClientSession(f"http://{bound.http}") as http:
        yield entry, http


def signed(secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def frame(response: ClientResponse) -> Any:
    """The next event of a stream, None at its end."""
    async with asyncio.timeout(5):
        lines = []
        async for line in response.content:
            if line == b"\n":
                return json.loads(lines[-1].removeprefix(b"data: "))
            lines.append(line)
    return None


# --- the page ---


async def test_the_page_loads_nothing_from_elsewhere_and_runs_no_text() -> None:
    async with console() as (_, http):
        page = await http.get("/console")
        text = await page.text()

    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["Cache-Control"] == "no-cache"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?://", text)


async def test_every_file_of_the_page_is_served_with_its_type() -> None:
    async with console() as (_, http):
        for name in FILES:
            response = await http.get(f"/console/{name}")

            assert response.status == 200, name
            assert response.headers["Content-Type"] == TYPES[Path(name).suffix]
            assert "Content-Security-Policy" in response.headers
            assert await response.read() == (FOLDER / name).read_bytes()


async def test_nothing_else_is_served() -> None:
    async with console() as (_, http):
        for name in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "no.js", "css", "css/", "%00"):
            assert (await http.get(f"/console/{name}")).status == 404, name


async def test_a_file_that_a_browser_has_is_not_sent_again() -> None:
    async with console() as (_, http):
        first = await http.get("/console/main.js")
        again = await http.get("/console/main.js", headers={"If-None-Match": first.headers["ETag"]})

    assert again.status == 304


def test_modules_are_short_say_what_they_are_for_and_make_no_html() -> None:
    for name in (each for each in FILES if each.endswith(".js")):
        text = (FOLDER / name).read_text("utf-8")

        assert text.startswith("/**"), name
        assert len(text.splitlines()) <= 400, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            name
        )
        for imported in re.findall(r'from "([^"]+)"', text):
            assert (FOLDER / name).parent.joinpath(imported).exists(), imported


async def test_it_is_not_there_where_the_setting_is_off() -> None:
    async with console(console=False) as (_, http):
        assert (await http.get("/console")).status == 404
        assert (await http.get("/console/api/world", headers=signed())).status == 404


@pytest.mark.timeout(60)
def test_the_page_is_in_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed_names = set(packed.namelist())
    assert {f"services/entry/console/{name}" for name in FILES} <= packed_names


# --- the world ---


async def test_the_world_is_shown_with_whose_token_it_is() -> None:
    async with console() as (entry, http):
        entry.granted(Shares(number=0, keep_s=30.0, even=1.0))
        response = await http.get("/console/api/world", headers=signed())
        found = await response.json()

    assert response.headers["Cache-Control"] == "no-store"
    assert found["me"]["sees_all"] is True
    assert found["me"]["scopes"] == ["run", "read", "write", "admin"]
    assert {each["name"] for each in found["models"]} == {TEXT, VECTORS}
    assert {(each["colo"], each["permits"], each["free"]) for each in found["loads"]} == {
        ("ams", 4, 4)
    }
    assert 0 <= found["now"]["control_silent_s"] < 1
    assert found["codes"]["3040"] == "out_of_capacity"


async def test_that_control_never_spoke_is_told() -> None:
    async with console() as (_, http):
        found = await (await http.get("/console/api/world", headers=signed())).json()

    assert found["now"]["control_silent_s"] is None


@pytest.mark.parametrize(
    ("secret", "status", "code"),
    [("wrong", 401, 10000), (EXPIRED_SECRET, 401, 10000), (BLOCKED_SECRET, 403, 3023)],
)
@pytest.mark.parametrize("path", ["world", "world/stream", "decisions?model=x"])
async def test_a_token_that_opens_nothing_opens_no_console(
    path: str, secret: str, status: int, code: int
) -> None:
    async with console() as (_, http):
        response = await http.get(f"/console/api/{path}", headers=signed(secret))

        assert response.status == status
        assert (await response.json())["errors"][0]["code"] == code


async def test_accounts_see_nothing_of_others() -> None:
    world = small_world("ams")
    put(world, Model(name=PRIVATE, task="text-embeddings", access=Access(accounts=("a" * 32,))))
    async with console(world) as (_, http):
        mine = await (await http.get("/console/api/world", headers=signed(OTHER_SECRET))).json()
        all_ = await (await http.get("/console/api/world", headers=signed())).json()

    assert mine["me"]["sees_all"] is False
    assert mine["me"]["account"] == OTHER_ACCOUNT
    assert mine["accounts"] == mine["entries"] == []
    assert PRIVATE not in str(mine)
    assert PRIVATE in str(all_)
    assert len(all_["accounts"]) == 3


async def test_a_token_for_some_models_sees_those() -> None:
    world = small_world("ams")
    put(world, Token(hash=token_hash("some"), account=OTHER_ACCOUNT, models=(VECTORS,)))
    async with console(world) as (_, http):
        found = await (await http.get("/console/api/world", headers=signed("some"))).json()

    assert [each["name"] for each in found["models"]] == [VECTORS]
    assert {each["model"] for each in found["loads"]} == {VECTORS}


async def test_the_stream_shows_everything_and_then_what_changes() -> None:
    world = small_world("ams")
    async with console(world) as (_, http):
        response = await http.get("/console/api/world/stream", headers=signed())
        first = await frame(response)
        put(world, decision(7))
        later = await frame(response)
        while "decisions" not in later:
            assert later.keys() == {"now"}
            later = await frame(response)
        response.close()

    assert {"me", "models", "loads", "colos", "decisions"} <= first.keys()
    assert later.keys() == {"now", "decisions"}
    assert later["decisions"][0]["at_ms"] == 7


async def test_a_stream_ends_when_its_token_is_revoked() -> None:
    world = small_world("ams")
    async with console(world) as (_, http):
        response = await http.get("/console/api/world/stream", headers=signed())
        await frame(response)
        gone = Ref("token", token_hash(SECRET))
        world.apply(Update(version=world.version + 1, deletes=(gone,)))
        last: Any = {}
        while (found := await frame(response)) is not None:
            last = found

    assert last["errors"][0]["code"] == 10000


async def test_streams_end_at_once_when_entry_drains() -> None:
    config = Config(colo="ams", http="127.0.0.1:0", grpc="", drain_s=30.0, console_s=60.0)
    entry = entry_of(small_world("ams"), {"ams": FakeServer()}, config=config)
    async with asyncio.timeout(5), ClientSession() as http:
        async with serve(config, entry) as bound:
            url = f"http://{bound.http}/console/api/world/stream"
            response = await http.get(url, headers=signed())
            await frame(response)
        assert await frame(response) is None


async def test_only_so_many_watch_at_once() -> None:
    async with console(console_streams=1) as (_, http):
        first = await http.get("/console/api/world/stream", headers=signed())
        second = await http.get("/console/api/world/stream", headers=signed())
        first.close()
        for _ in range(100):
            third = await http.get("/console/api/world/stream", headers=signed())
            if third.status == 200:
                break
            await asyncio.sleep(0.02)
        third.close()

    assert (first.status, second.status, third.status) == (200, 429, 200)
    assert (await second.json())["errors"][0]["reason"] == "too_many_viewers"
    assert int(second.headers["Retry-After"]) > 0


# --- decisions ---


async def test_decisions_are_shown_with_the_oldest_first() -> None:
    explains = Decisions(decision(9), decision(7), decision(8, "us"))
    async with console(explains=explains) as (_, http):
        response = await http.get(f"/console/api/decisions?model={TEXT}", headers=signed())
        found = await response.json()

    told = [(each["region"], each["at_ms"]) for each in found["decisions"]]
    assert told == [("eu", 7), ("eu", 9), ("us", 8)]
    assert explains.asked == [Question(model=TEXT, count=120)]


@pytest.mark.parametrize(("query", "status"), [("", 400), (f"model={PRIVATE}", 403)])
async def test_decisions_about_what_may_not_be_seen_are_refused(query: str, status: int) -> None:
    explains = Decisions()
    async with console(explains=explains) as (_, http):
        response = await http.get(f"/console/api/decisions?{query}", headers=signed(OTHER_SECRET))

    assert response.status == status
    assert explains.asked == []
