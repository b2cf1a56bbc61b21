"""The official SDK of OpenAI, at an entry over a fake server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai

from libs.common.world import World
from tests.entry.fakes import ACCOUNT, SECRET, FakeServer, listening

MESSAGES: Any = [{"role": "user", "content": "hi"}]
WITH_ACCOUNT, BY_TOKEN = f"/client/v4/accounts/{ACCOUNT}/ai/v1", "/v1"


@asynccontextmanager
async def sdk(
    server: FakeServer,
    *,
    base: str = WITH_ACCOUNT,
    token: str = SECRET,
    world: World | None = None,
    **config: Any,
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield a client of an entry over the server."""
    async with listening(server, world=world, **config) as bound:
        client = openai.AsyncOpenAI(
            api_key=token, base_url=f"http://{bound.http}{base}", max_retries=0
        )
        async with client:
            yield client
