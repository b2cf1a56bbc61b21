"""Finetunes that accounts make: named, given their two files, and deleted.

A file is written once it is known to be right, and belongs to its finetune from the moment on
in which the store says so; whatever else is in the folder is removed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from libs.common.catalog import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    ADAPTER_WEIGHTS,
    PUBLIC_PREFIX,
    Asset,
    Finetune,
    Lora,
    Model,
)
from libs.common.clock import Clock
from libs.common.errors import (
    AssetExists,
    BadAdapter,
    BadInput,
    FinetuneExists,
    LoraUnsupported,
    TooLarge,
    TooManyFinetunes,
    TooManyUploads,
    UnknownFinetune,
    UnknownModel,
)
from libs.common.finetunes import NewFinetune, UploadHead, Written
from libs.common.finishing import finish, in_thread
from libs.common.world import World
from libs.common.world_map import Ref, Resource
from services.control import adapters
from services.control.bodies import Body
from services.control.ports import Assets, Received

LONGEST_NAME: Final = 128
LONGEST_DESCRIPTION: Final = 1024
FINDS_BY_NAME: Final = ("vllm", "seeds")  # dialects whose models look for `adapters/<id>`
BUSY_MS: Final = 5_000
Write = Callable[[Sequence[Resource], Sequence[Ref]], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What finetunes may cost."""

    per_account: int = 30
    largest_bytes: int = 500_000_000
    uploads_at_once: int = 16


class Finetunes:
    """Implements `ports.FinetuneWrites` and `ports.AssetSource` of libs.common."""

    def __init__(
        self, *, world: World, write: Write, assets: Assets, limits: Limits, clock: Clock
    ) -> None:
        """`write` puts and deletes resources, and returns the version that has it."""
        self._world = world
        self._write = write
        self._assets = assets
        self._limits = limits
        self._clock = clock
        self._changing = asyncio.Lock()  # between a look at the world and its change
        self._uploads = 0

    def __repr__(self) -> str:
        return f"<Finetunes {len(self._world.table(Finetune))} uploads={self._uploads}>"

    async def open(self) -> None:
        """Bring the folder in line with the store."""
        await self._assets.open(self._digests())

    async def sweep(self) -> None:
        """Remove files that no finetune has any more."""
        async with self._changing:
            await self._assets.retain(self._digests())

    async def create(self, new: NewFinetune) -> Written:
        """Make a finetune without files."""
        _check_text(new.name, "name", LONGEST_NAME)
        _check_text(new.description, "description", LONGEST_DESCRIPTION)
        model = self._base(new.model)
        async with self._changing:
            self._check_new(new)
            now = self._clock.unix_ms()
            made = Finetune(
                id=str(uuid.uuid4()),
                name=new.name,
                model=model.name,
                account=new.account,
                public=new.public,
                description=new.description,
                created_at_ms=now,
                modified_at_ms=now,
            )
            return Written(made, await self._write([made], []))

    async def upload(self, head: UploadHead, chunks: AsyncIterator[bytes]) -> Written:
        """Take one of a finetune's files, checked before it is stored."""
        finetune = self._own(head.account, head.finetune)
        _check_file(finetune, head.file)
        lora = self._base(finetune.model).lora
        if self._uploads >= self._limits.uploads_at_once:
            text = f"{self._uploads} files are being uploaded, which is all that may be at once"
            raise TooManyUploads(text, retry_after_ms=BUSY_MS)
        self._uploads += 1
        try:
            body = Body(chunks)
            if head.file == ADAPTER_CONFIG:
                return await self._take_config(finetune, body, lora)
            return await self._take_weights(finetune, body, lora)
        finally:
            self._uploads -= 1

    async def delete(self, account: str, name: str) -> Written:
        """Remove a finetune with its files."""
        async with self._changing:
            finetune = self._own(account, name)
            version = await self._write([], [Ref("finetune", finetune.id)])
            await self._assets.retain(self._digests())
            return Written(finetune, version)

    def of_account(self, account: str) -> list[Ref]:
        """Return the names of an account's finetunes."""
        every = self._world.table(Finetune).values()
        return [Ref("finetune", each.id) for each in every if each.account == account]

    def fetch(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield a file in pieces."""
        return self._assets.read(sha256)

    async def _take_config(self, finetune: Finetune, body: Body, lora: Lora) -> Written:
        raw = await body.take(adapters.LARGEST_CONFIG + 1)
        config = await in_thread(lambda: adapters.read_config(raw, lora))
        with self._assets.receive(len(raw)) as incoming:
            await incoming.write(raw)
            return await finish(self._keep(finetune, ADAPTER_CONFIG, incoming, config=config))

    async def _take_weights(self, finetune: Finetune, body: Body, lora: Lora) -> Written:
        prefix = await body.take(adapters.PREFIX_BYTES)
        header = await body.take(adapters.header_bytes(prefix))
        weights = await in_thread(lambda: adapters.read_header(header, lora))
        if weights.size > self._limits.largest_bytes:
            text = f"its tensors end at byte {weights.size}"
            raise TooLarge(f"{text}, and {self._limits.largest_bytes} are allowed")
        with self._assets.receive(weights.size) as incoming:
            await incoming.write(prefix + header)
            async for chunk in body.rest():
                if incoming.size + len(chunk) > weights.size:
                    text = f"it goes on after its last tensor, at byte {weights.size}"
                    raise BadAdapter(f"{ADAPTER_WEIGHTS}: {text}")
                await incoming.write(chunk)
            if incoming.size < weights.size:
                text = f"it is cut short: {incoming.size} bytes of {weights.size}"
                raise BadAdapter(f"{ADAPTER_WEIGHTS}: {text}")
            return await finish(self._keep(finetune, ADAPTER_WEIGHTS, incoming, weights=weights))

    async def _keep(
        self,
        finetune: Finetune,
        file: str,
        incoming: Received,
        *,
        config: adapters.Config | None = None,
        weights: adapters.Weights | None = None,
    ) -> Written:
        """Make what has come the finetune's file, if nobody was quicker, and it fits the other."""
        async with self._changing:
            now = self._own(finetune.account, finetune.id)  # it may have changed meanwhile
            _check_file(now, file)
            lora = self._base(now.model).lora
            for asset in now.assets:
                if asset.file == ADAPTER_CONFIG:
                    config = await self._config(asset, lora)
                else:
                    weights = await self._weights(asset, lora)
            if config and weights:
                adapters.check_together(config, weights)
            sha256 = await incoming.keep()
            made = Asset(file=file, size=incoming.size, sha256=sha256)  # type: ignore[arg-type]
            assets = tuple(sorted((*now.assets, made), key=lambda each: each.file))
            changed = replace(now, assets=assets, modified_at_ms=self._clock.unix_ms())
            return Written(changed, await self._write([changed], []))

    async def _config(self, asset: Asset, lora: Lora) -> adapters.Config:
        raw = await self._assets.beginning(asset.sha256, asset.size)
        return await in_thread(lambda: adapters.read_config(raw, lora))

    async def _weights(self, asset: Asset, lora: Lora) -> adapters.Weights:
        prefix = await self._assets.beginning(asset.sha256, adapters.PREFIX_BYTES)
        until = adapters.PREFIX_BYTES + adapters.header_bytes(prefix)
        raw = await self._assets.beginning(asset.sha256, until)
        return await in_thread(lambda: adapters.read_header(raw[adapters.PREFIX_BYTES :], lora))

    def _digests(self) -> set[str]:
        every = self._world.table(Finetune).values()
        return {asset.sha256 for each in every for asset in each.assets}

    def _own(self, account: str, name: str) -> Finetune:
        found = self._world.finetune(name, account=account)
        if found is None or found.account != account or not account:
            raise UnknownFinetune(f"the account has no finetune {name[:LONGEST_NAME]!r}")
        return found

    def _base(self, name: str) -> Model:
        """Return the model that a finetune is for, if uploaded files can reach it."""
        model = self._world.model(name)
        if model is None:
            raise UnknownModel(f"No such model {name[:200]}")
        if not model.lora.enabled:
            raise LoraUnsupported(f"{model.name} takes no LoRA")
        backend = model.backend
        is_placed = bool(backend.repository) and not backend.external
        if not is_placed or backend.dialect not in FINDS_BY_NAME:
            text = "takes the adapters alone that its operator has put there"
            raise LoraUnsupported(f"{model.name} {text}")
        return model

    def _check_new(self, new: NewFinetune) -> None:
        if new.name.startswith(PUBLIC_PREFIX):
            raise BadInput(f"name: names in {PUBLIC_PREFIX} are reserved", pointer="/name")
        mine = [e for e in self._world.table(Finetune).values() if e.account == new.account]
        if any(new.name in (each.id, each.name) for each in mine):
            raise FinetuneExists(f"the account has a finetune {new.name!r} already")
        if new.public and self._world.finetune(PUBLIC_PREFIX + new.name, account=""):
            raise FinetuneExists(f"there is a public finetune {new.name!r} already")
        if len(mine) >= self._limits.per_account:
            raise TooManyFinetunes(f"the account has {len(mine)} finetunes, as many as it may")


def _check_text(value: str, field: str, longest: int) -> None:
    if len(value) > longest or not value.isprintable():
        text = f"expected up to {longest} printable characters"
        raise BadInput(f"{field}: {text}", pointer=f"/{field}")
    if field == "name" and (not value or value != value.strip() or "/" in value):
        text = "expected a name, without a slash, and without spaces around it"
        raise BadInput(f"name: {text}", pointer="/name")


def _check_file(finetune: Finetune, file: str) -> None:
    if file not in ADAPTER_FILES:
        text = f"expected {' or '.join(ADAPTER_FILES)}, got {file[:200]!r}"
        raise BadInput(f"file_name: {text}", pointer="/file_name")
    if any(each.file == file for each in finetune.assets):
        raise AssetExists(f"finetune {finetune.name!r} has its {file} already")
