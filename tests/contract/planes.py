"""A control whose finetunes are asked directly, or by a client over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from libs.common.catalog import Backend, Finetune, Lora, Model
from libs.common.clients.control import ControlClient
from libs.common.finetunes import NewFinetune, UploadHead
from libs.common.world import World
from libs.common.world_map import Colo
from services.control import app
from services.control.service import Control
from tests.adapters import chunked

LORA = Lora(enabled=True, model_types=("demo",), target_modules=("q_proj", "v_proj"))
TRITON = Backend(repository="models/m", dialect="vllm")
CHAT = Model(name="chat", task="text-generation", aliases=("talk",), lora=LORA, backend=TRITON)
CATALOG = (
    Colo(name="ams"),
    CHAT,
    replace(CHAT, name="plain", aliases=(), lora=Lora()),
    replace(CHAT, name="theirs", aliases=(), backend=Backend(external=("a:1",), dialect="vllm")),
    replace(CHAT, name="trt", aliases=(), backend=replace(TRITON, dialect="tensorrt_llm")),
    Finetune(id="style", name="style", model="chat", adapter="a"),
)
SMALL = 1000


class Plane:
    """A control, and finetunes by one of both ways."""

    def __init__(self, control: Control, finetunes: Any, folder: Path) -> None:
        self.control = control
        self.finetunes = finetunes
        self.assets = folder / "assets"

    @property
    def world(self) -> World:
        return self.control._snapshot.world

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.assets.iterdir()} - {"incoming"}

    @property
    def unfinished(self) -> list[Path]:
        return list((self.assets / "incoming").iterdir())

    async def create(self, name: str = "pirate", account: str = "a", **more: Any) -> Finetune:
        new = NewFinetune(account=account, name=name, **({"model": "chat"} | more))
        made, version = await self.finetunes.create(new)
        assert self.world.version == version
        return made  # type: ignore[no-any-return]

    async def upload(
        self, raw: bytes, file: str, name: str = "pirate", account: str = "a", size: int = 1000
    ) -> Finetune:
        head = UploadHead(account=account, finetune=name, file=file)
        made, version = await self.finetunes.upload(head, chunked(raw, size))
        assert self.world.version == version
        return made  # type: ignore[no-any-return]

    async def fetched(self, sha256: str) -> bytes:
        return b"".join([piece async for piece in self.finetunes.fetch(sha256)])


Planes = Callable[..., Any]


def starting(way: str, folder: Path) -> Planes:
    """Return what starts a control in one folder, again and again, with these settings."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[Plane]:
        given = {"max_adapter_bytes": SMALL, "keep_free_mb": 0} | settings
        configured = app.Config(state_dir=folder, listen="", grace_s=0.0, **given)
        control = app.build(configured, catalog=CATALOG)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app.serve(configured, control))
            finetunes: Any = control.finetunes
            if way == "grpc":
                client = ControlClient(f"unix:{folder.absolute()}/control.sock")
                finetunes = (await stack.enter_async_context(client)).finetunes
            yield Plane(control, finetunes, folder)

    return start
