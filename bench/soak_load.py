"""The mixed load of a soak: all that clients do, right and wrong, from a few workers at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.workloads import ACCOUNT, TOKEN

CHAT, EMBED = "@cf/demo/text-generation", "@cf/demo/text-embeddings"
CALL_S = 60.0
LEAVE_AFTER = 4  # frames, where a client leaves in mid stream
BUSY = 429  # may be answered at any time: there is more load than room now and then


@dataclass
class Tally:
    """What became of the calls."""

    answered: Counter[str] = field(default_factory=Counter)  # by what was done
    busy: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # by what was done, and what came

    @property
    def total(self) -> int:
        """All calls that have ended."""
        return self.answered.total() + self.busy + self.failed.total()


class Caller:
    """One client: its own connections, and its own chances."""

    def __init__(self, base: str, session: aiohttp.ClientSession, rng: random.Random) -> None:
        self._run = f"{base}/client/v4/accounts/{ACCOUNT}/ai/run"
        self._openai = f"{base}/v1"
        self._session = session
        self._rng = rng

    async def answer(self) -> int:
        """Ask for a whole answer."""
        return await self._post(f"{self._run}/{CHAT}", self._prompt())

    async def stream(self) -> int:
        """Read a stream to its end."""
        return await self._stream(f"{self._run}/{CHAT}", {**self._prompt(), "stream": True})

    async def leave(self) -> int:
        """Leave in the middle of a stream."""
        body = {"prompt": "Tell me a story.", "stream": True, "max_tokens": 200}
        return await self._stream(f"{self._run}/{CHAT}", body, leave_after=LEAVE_AFTER)

    async def chat(self) -> int:
        """Read a stream by OpenAI's API."""
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        body = {"model": CHAT, "messages": messages, "stream": True, "max_tokens": 16}
        return await self._stream(f"{self._openai}/chat/completions", body)

    async def adapter(self) -> int:
        """Ask with a LoRA adapter."""
        name = self._rng.choice(("pirate", "haiku"))
        return await self._post(f"{self._run}/{CHAT}", {**self._prompt(), "lora": name})

    async def embed(self) -> int:
        """Ask for vectors of a few texts."""
        texts = ["some text to embed"] * self._rng.randint(1, 8)
        return await self._post(f"{self._run}/{EMBED}", {"text": texts})

    async def vectors(self) -> int:
        """Ask for vectors by OpenAI's API."""
        return await self._post(f"{self._openai}/embeddings", {"model": EMBED, "input": "text"})

    async def bad(self) -> int:
        """Send what the schema refuses."""
        return await self._post(f"{self._run}/{CHAT}", {"prompt": "x", "max_tokens": -1})

    async def broken(self) -> int:
        """Send what is no JSON."""
        return await self._post(f"{self._run}/{CHAT}", data=b'{"prompt": ')

    async def unknown(self) -> int:
        """Ask for a model that there is not."""
        return await self._post(f"{self._run}/@cf/demo/nothing", {"prompt": "x"})

    async def anonymous(self) -> int:
        """Show no token that anybody has."""
        headers = {"Authorization": "Bearer nobody"}
        return await self._post(f"{self._run}/{EMBED}", {"text": "x"}, headers=headers)

    def _prompt(self) -> dict[str, Any]:
        return {"prompt": "Tell me a story.", "max_tokens": self._rng.randint(1, 24)}

    async def _post(
        self,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        async with self._session.post(url, json=body, data=data, headers=headers) as response:
            await response.read()
            return response.status

    async def _stream(self, url: str, body: Mapping[str, Any], *, leave_after: int = 0) -> int:
        frames, ended = 0, False
        async with self._session.post(url, json=body) as response:
            async for line in response.content:
                frames += line.startswith(b"data:")
                ended = ended or b"[DONE]" in line
                if leave_after and frames >= leave_after:
                    response.close()
                    return response.status
        if response.status == 200 and not ended:
            raise aiohttp.ClientPayloadError("the stream has no end")
        return response.status


Action = Callable[[Caller], Awaitable[int]]
# What is done, how often, and the status that is right.
ACTIONS: Mapping[str, tuple[Action, int, int]] = {
    "answer": (Caller.answer, 6, 200),
    "stream": (Caller.stream, 8, 200),
    "leave": (Caller.leave, 4, 200),
    "chat": (Caller.chat, 8, 200),
    "adapter": (Caller.adapter, 4, 200),
    "embed": (Caller.embed, 30, 200),
    "vectors": (Caller.vectors, 30, 200),
    "bad": (Caller.bad, 3, 400),
    "broken": (Caller.broken, 3, 400),
    "unknown": (Caller.unknown, 2, 400),
    "anonymous": (Caller.anonymous, 2, 401),
}


@asynccontextmanager
async def mixed_load(base: str, *, workers: int, pause_s: float, seed: int) -> AsyncIterator[Tally]:
    """Call from so many workers while inside, each with pauses; then wait for what is under way."""
    tally, stop = Tally(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            rng = random.Random(seed * 1000 + number)
            group.create_task(_work(base, rng, pause_s, tally, stop))
        try:
            yield tally
        finally:
            stop.set()


async def _work(
    base: str, rng: random.Random, pause_s: float, tally: Tally, stop: asyncio.Event
) -> None:
    """Do one thing after the other; every few dozen things, over a new connection."""
    names = list(ACTIONS)
    weights = [weight for _, weight, _ in ACTIONS.values()]
    while not stop.is_set():
        async with _session() as session:
            caller = Caller(base, session, rng)
            for name in rng.choices(names, weights, k=rng.randint(1, 40)):
                if stop.is_set():
                    return
                await _do(name, caller, tally)
                await asyncio.sleep(rng.expovariate(1 / pause_s))


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {TOKEN}"}, timeout=aiohttp.ClientTimeout(CALL_S)
    )


async def _do(name: str, caller: Caller, tally: Tally) -> None:
    act, _, right = ACTIONS[name]
    try:
        status = await act(caller)
    except (aiohttp.ClientError, TimeoutError) as error:
        tally.failed[f"{name}: {type(error).__name__}"] += 1
        return
    if status == right:
        tally.answered[name] += 1
    elif status == BUSY:
        tally.busy += 1
    else:
        tally.failed[f"{name}: {status}"] += 1
