"""What an account has used: totals as JSON or CSV, and its last requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from aiohttp import web
from msgspec.structs import asdict

from libs.common.envelope import RequestSource
from libs.common.errors import BadInput, DeadlineExceeded, Unavailable, UsageUnavailable
from libs.common.events.values import Flag
from libs.common.moments import rfc3339
from libs.common.usage import RecordedEvent, UsageSource
from libs.common.usage_texts import as_csv, values
from libs.common.world_map import Token
from services.entry.admins import Admins
from services.entry.fronts.cold import ColdRoutes
from services.entry.tasks.base import Binary
from services.entry.usage_questions import (
    account_of,
    own_names,
    recent_query,
    usage_query,
    wants_csv,
)
from services.entry.viewing import without_address

BASE: Final = "/client/v4/accounts/{account}/ai/usage"
CSV: Final = "text/csv; charset=utf-8"
T = TypeVar("T")


class UsageRoutes:
    """Asks analytics; operators may ask for other accounts, or all."""

    def __init__(
        self, *, source: UsageSource, cold: ColdRoutes, admins: Admins, answer_s: float
    ) -> None:
        self._source = source
        self._cold = cold
        self._admins = admins
        self._answer_s = answer_s

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        answering = self._cold.answering
        return [
            web.get(BASE, answering(self.usage)),
            web.get(f"{BASE}/requests", answering(self.requests)),
        ]

    async def usage(self, request: web.Request, token: Token) -> object:
        """Add up what was used, a row for each group."""
        account = account_of(request.query, token, self._admins)
        query = usage_query(request.query, account)
        in_csv = wants_csv(request.query, request.headers.get("Accept", ""))
        rows = await self._answer(self._source.query(query))
        if in_csv:
            return Binary(as_csv(rows, query.group_by).encode(), CSV)
        return _enveloped([values(row, query.group_by) for row in rows], {"count": len(rows)})

    async def requests(self, request: web.Request, token: Token) -> object:
        """List the last attempts of requests, the newest first."""
        account = account_of(request.query, token, self._admins)
        page = await self._answer(self._source.recent(recent_query(request.query, account)))
        following = None if page.next is None else str(page.next)
        sees_all = self._admins.see_all(token)
        shown = [_shown(each, sees_all=sees_all) for each in page.events]
        return _enveloped(shown, {"count": len(shown), "next": following})

    async def _answer(self, asked: Awaitable[T]) -> T:
        """Return what analytics says, or that it is away. Nothing else waits for it."""
        try:
            async with asyncio.timeout(self._answer_s):
                return await asked
        except BadInput as error:
            raise own_names(error) from error
        except (TimeoutError, DeadlineExceeded):
            raise UsageUnavailable(f"analytics has not answered in {self._answer_s:g} s") from None
        except Unavailable as error:
            if isinstance(error, UsageUnavailable):
                raise
            raise UsageUnavailable("analytics cannot be reached") from error


def _shown(recorded: RecordedEvent, *, sees_all: bool) -> dict[str, Any]:
    """Return an attempt with all that was recorded of it; numbers that stand for words as words.

    Addresses are for operators alone, as they are in the console.
    """
    event = recorded.event
    instance = event.model_container_id
    sources = RequestSource._value2member_map_
    source = RequestSource(event.request_source) if event.request_source in sources else None
    return {
        "arrived_at": rfc3339(event.timestamp_ms),
        **asdict(event),
        "model_container_id": instance if sees_all else without_address(instance),
        "endpoint": event.endpoint if sees_all else "",
        "request_source": source.name.lower() if source else "",
        "flags": [flag.name.lower() for flag in Flag if flag.name and flag & event.flags],
        "server": recorded.server,
        "boot_epoch": recorded.boot_epoch,
        "sequence": recorded.sequence,
    }


def _enveloped(result: object, info: dict[str, Any]) -> dict[str, Any]:
    return {
        "result": result,
        "success": True,
        "errors": [],
        "messages": [],
        "result_info": info,
    }
