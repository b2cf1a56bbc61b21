"""Workers AI's finetunes: made, listed, given their files, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from libs.common.catalog import Finetune
from libs.common.errors import DeadlineExceeded, ModelNotAllowed
from libs.common.finetunes import FinetuneWrites, NewFinetune, UploadHead, Written
from libs.common.world import World
from libs.common.world_map import Token
from services.entry.bad_input import bad_input
from services.entry.fronts.bodies import too_large
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.replays import Replays
from services.entry.fronts.uploads import UploadForm
from services.entry.gateway import Gateway
from services.entry.tasks.sent import json_object

BASE: Final = "/client/v4/accounts/{account}/ai/finetunes"
ORDERS: Final = ("created_at", "modified_at", "name", "model")
MOST_LISTED: Final = 1000
SEEN_S: Final = 2.0  # for this entry to see what it has written
Answer = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long clients may take, how large plain bodies may be, and which answers are kept."""

    body_s: float
    idle_s: float
    upload_s: float
    max_body_bytes: int
    replay_s: float  # an answer is kept for its idempotency key
    replays: int


class Finetunes:
    """The routes of an account's finetunes, and of the public ones."""

    def __init__(
        self,
        *,
        writes: FinetuneWrites,
        world: World,
        gateway: Gateway,
        cold: ColdRoutes,
        bounds: Bounds,
    ) -> None:
        self._writes = writes
        self._world = world
        self._gateway = gateway
        self._cold = cold
        self._bounds = bounds
        self._replays = Replays(keep_s=bounds.replay_s, most=bounds.replays)

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        one = f"{BASE}/{{finetune}}"
        answering = self._cold.answering
        return [
            web.get(BASE, answering(self.listed)),
            web.post(BASE, answering(self.create, scope="write")),
            web.get(f"{BASE}/public", answering(self.public)),
            web.delete(one, answering(self.delete, scope="admin")),
            web.post(f"{one}/finetune-assets", answering(self.upload, scope="write")),
        ]

    def listed(self, request: web.Request, token: Token) -> Answer:
        """List the account's own."""
        every = self._world.table(Finetune).values()
        mine = [each for each in every if each.account == token.account]
        return _answer([_shown(each, each.name) for each in _ordered(mine, "created_at")])

    def public(self, request: web.Request, token: Token) -> Answer:
        """List those that every account may use, by the names that they have for all."""
        usable = {model.name for model in self._gateway.models(token.account)}
        every = self._world.table(Finetune).values()
        found = [e for e in every if e.is_public and e.is_complete and e.model in usable]
        limit = _number(request, "limit", MOST_LISTED, least=1)
        offset = _number(request, "offset", 0, least=0)
        page = _ordered(found, request.query.get("orderBy") or "name")[offset : offset + limit]
        counts = {
            "page": offset // limit + 1,
            "per_page": limit,
            "count": len(page),
            "total_count": len(found),
        }
        return _answer([_shown(each, each.public_name) for each in page], counts)

    async def create(self, request: web.Request, token: Token) -> Answer:
        """Make one, without files."""
        raw = await self._body(request)
        return await self._replays.once(
            request, token.account, raw, lambda: self._create(raw, token)
        )

    async def _create(self, raw: bytes, token: Token) -> Answer:
        body = json_object(raw)
        new = NewFinetune(
            account=token.account,
            name=_text(body, "name"),
            model=_text(body, "model"),
            description=_text(body, "description", ""),
            public=_flag(body, "public"),
        )
        model = self._world.model(new.model)
        if model is not None and model not in self._gateway.models(token.account):
            raise ModelNotAllowed(f"account {token.account} may not run {model.name}")
        return await self._seen(await self._writes.create(new))

    async def upload(self, request: web.Request, token: Token) -> Answer:
        """Take one of its files; by its size a repeated one is told from another."""
        size = str(request.content_length).encode()
        return await self._replays.once(
            request, token.account, size, lambda: self._upload(request, token)
        )

    async def _upload(self, request: web.Request, token: Token) -> Answer:
        try:
            async with asyncio.timeout(self._bounds.upload_s):
                form = UploadForm(request, idle_s=self._bounds.idle_s)
                await form.open()
                name = request.match_info["finetune"]
                head = UploadHead(account=token.account, finetune=name, file=form.file_name)
                async with aclosing(form.chunks()) as chunks:
                    written = await self._writes.upload(head, chunks)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the file has not come in {self._bounds.upload_s:g} s"
            ) from None
        return await self._seen(written)

    async def delete(self, request: web.Request, token: Token) -> Answer:
        """Remove one, with its files."""
        return await self._seen(
            await self._writes.delete(token.account, request.match_info["finetune"])
        )

    async def _seen(self, written: Written) -> Answer:
        """Wait until this entry knows what was written, so that its lists have it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SEEN_S):
                await self._world.until(lambda world: world.version >= written.version)
        return _answer(_shown(written.finetune, written.finetune.name))

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.body_s):
                return await request.read()
        except TimeoutError:
            text = f"the body has not come in {self._bounds.body_s:g} s"
            raise DeadlineExceeded(text) from None
        except web.HTTPRequestEntityTooLarge:
            raise too_large(self._bounds.max_body_bytes) from None


def _answer(result: object, counts: Mapping[str, int] | None = None) -> Answer:
    """Return the envelope of a success."""
    answer: Answer = {"result": result, "success": True, "errors": [], "messages": []}
    return answer | ({"result_info": counts} if counts else {})


def _shown(finetune: Finetune, name: str) -> dict[str, object]:
    return {
        "id": finetune.id,
        "name": name,
        "model": finetune.model,
        "description": finetune.description,
        "public": finetune.is_public,
        "created_at": _time(finetune.created_at_ms),
        "modified_at": _time(finetune.modified_at_ms),
    }


def _time(unix_ms: int) -> str:
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ordered(finetunes: list[Finetune], by: str) -> list[Finetune]:
    if by not in ORDERS:
        raise bad_input(["orderBy"], f"expected {', '.join(ORDERS)}, got {by[:100]!r}")
    field = f"{by}_ms" if by.endswith("_at") else by
    return sorted(finetunes, key=lambda each: (getattr(each, field), each.id))


def _number(request: web.Request, name: str, default: int, *, least: int) -> int:
    """Return a whole number of the query, as the SDKs write it: 10 or 10.0."""
    said = request.query.get(name)
    if said is None or said == "":
        return default
    whole, _, rest = said.partition(".")
    is_whole = whole.isascii() and whole.isdigit() and len(whole) < 10 and not rest.strip("0")
    if not is_whole or int(whole) < least:
        raise bad_input([name], f"expected a whole number from {least}, got {said[:100]!r}")
    return min(int(whole), MOST_LISTED) if name == "limit" else int(whole)


def _text(body: Mapping[str, Any], field: str, default: str | None = None) -> str:
    value = body.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise bad_input([field], "expected a text")
    return value


def _flag(body: Mapping[str, Any], field: str) -> bool:
    value = body.get(field)
    if not isinstance(value, bool | None):
        raise bad_input([field], "expected true or false")
    return bool(value)
