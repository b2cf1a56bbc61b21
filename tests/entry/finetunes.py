"""A real entry with a real control behind it over gRPC, and the routes of finetunes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from libs.common.backoff import Backoff
from libs.common.catalog import Access, Backend, Finetune, Lora, Model
from libs.common.clients.control import ControlClient
from libs.common.lifecycle import background
from libs.common.tokens import token_hash
from libs.common.world import World, follow
from libs.common.world_map import Account, Colo, Token
from services.control import app as control_app
from services.entry.app import Config, serve
from tests.entry.fakes import ACCOUNT, OTHER_ACCOUNT, entry_of

LORA = Lora(enabled=True, model_types=("demo",), target_modules=("q_proj", "v_proj"))
CHAT = Model(
    name="@cf/demo/chat",
    task="text-generation",
    lora=LORA,
    backend=Backend(repository="models/m", dialect="vllm"),
)
CATALOG = (
    Colo(name="ams"),
    CHAT,
    replace(CHAT, name="plain", lora=Lora()),
    replace(CHAT, name="private", access=Access(accounts=("nobody",))),
    Finetune(id="style", name="style", model=CHAT.name, adapter="a"),
    Account(id=ACCOUNT),
    Account(id=OTHER_ACCOUNT),
    Token(hash=token_hash("mine"), account=ACCOUNT),
    Token(hash=token_hash("theirs"), account=OTHER_ACCOUNT),
    Token(hash=token_hash("reader"), account=ACCOUNT, scopes=("run", "read")),
    Token(hash=token_hash("writer"), account=ACCOUNT, scopes=("write",)),
)


class Api:
    """The routes of one account."""

    def __init__(self, session: aiohttp.ClientSession, http: str, folder: Path) -> None:
        self.session = session
        self.http = http
        self.assets = folder / "assets"
        self.base = f"http://{http}/client/v4/accounts"

    async def ask(
        self, method: str, path: str = "", *, token: str = "mine", **given: Any
    ) -> tuple[int, Any]:
        account = OTHER_ACCOUNT if token == "theirs" else ACCOUNT
        headers = {"Authorization": f"Bearer {token}"} | given.pop("headers", {})
        url = f"{self.base}/{account}/ai/finetunes{path}"
        async with self.session.request(method, url, headers=headers, **given) as response:
            return response.status, await response.json()

    async def create(self, name: str = "pirate", **more: Any) -> Any:
        token = more.pop("token", "mine")
        body = {"name": name, "model": CHAT.name} | more
        status, answer = await self.ask("POST", json=body, token=token)
        assert status == 200, answer
        return answer["result"]

    async def upload(
        self, raw: bytes | BinaryIO, file: str, name: str = "pirate", **given: Any
    ) -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field("file_name", file)
        form.add_field(
            "file", io.BytesIO(raw) if isinstance(raw, bytes) else raw, filename="upload"
        )
        return await self.ask("POST", f"/{name}/finetune-assets", data=form, **given)

    def unfinished(self) -> list[Path]:
        return list((self.assets / "incoming").iterdir())


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Api]:
    given = {"listen": "", "grace_s": 0.0, "keep_free_mb": 0}
    configured = control_app.Config(state_dir=folder, **given)  # type: ignore[arg-type]
    entry_config = Config(colo="ams", http="127.0.0.1:0", grpc="", drain_s=0.1, **settings)
    world = World()
    async with AsyncExitStack() as stack:
        control = control_app.build(configured, catalog=CATALOG)
        await stack.enter_async_context(control_app.serve(configured, control))
        plane = ControlClient(f"unix:{folder.absolute()}/control.sock")
        await stack.enter_async_context(plane)
        following = follow(plane, world, backoff=Backoff(first_s=0.01))
        await stack.enter_async_context(background(following, name="world"))
        await asyncio.wait_for(world.until(lambda each: each.complete), 5)
        entry = entry_of(world, {}, config=entry_config, finetunes=plane.finetunes)
        bound = await stack.enter_async_context(serve(entry_config, entry))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Api(session, bound.http, folder)
