"""The load of an overload: calls come at random times, whatever became of those before."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from bench.workloads import STEP_S

MODEL = "@cf/bench/text-generation-paced-limited"
CALL_S = 30.0
BUSY = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one account asks for: its share of all that is asked, in calls of a cost."""

    account: str
    weight: int
    share: float
    cost: int = 1

    @property
    def token(self) -> str:
        """Return its token."""
        return f"cst_overload-{self.account[0]}"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of one account's calls: those that ended while it counted."""

    asked: int = 0
    permits: int = 0
    failed: int = 0
    waits: list[float] = field(default_factory=list)  # until the first part
    rejections: list[float] = field(default_factory=list)


async def offered(
    address: str,
    offers: Mapping[str, Offer],
    *,
    per_s: float,
    service_s: float,
    seconds: float,
    warm_s: float,
    seed: int,
) -> dict[str, Tally]:
    """Ask for so many permits per second, and return what each account got of them."""
    tallies = {name: Tally() for name in offers}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(CALL_S)
    begin = time.monotonic() + warm_s
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        for name, offer in offers.items():
            rng = random.Random(f"{seed} {name}")
            source = _Source(session, address, offer, tallies[name], service_s)
            rate = per_s * offer.share / offer.cost
            group.create_task(source.run(rng, rate, begin=begin, end=begin + seconds))
    return tallies


class _Source:
    """One account's calls."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: str,
        offer: Offer,
        tally: Tally,
        service_s: float,
    ) -> None:
        self._session = session
        self._url = f"http://{address}/client/v4/accounts/{offer.account}/ai/run/{MODEL}"
        self._headers = {"Authorization": f"Bearer {offer.token}"}
        # The first token comes at once, the last one a step after each other.
        tokens = round(service_s / STEP_S) + 1
        self._body = {
            "prompt": "hi",
            "stream": True,
            "max_tokens": tokens,
            "options": {"cost": offer.cost},
        }
        self._offer = offer
        self._tally = tally

    async def run(self, rng: random.Random, rate: float, *, begin: float, end: float) -> None:
        """Call until the end; what is under way then is given up."""
        calls: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while due < end:
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            call = asyncio.create_task(self._call(begin, end))
            calls.add(call)
            call.add_done_callback(calls.discard)
            if begin <= due < end:
                self._tally.asked += 1
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _call(self, begin: float, end: float) -> None:
        asked = time.monotonic()
        try:
            status, first = await self._ask()
        except (aiohttp.ClientError, TimeoutError):
            status, first = 0, 0.0
        now = time.monotonic()
        if not begin <= now < end:
            return
        if status == 200:
            self._tally.permits += self._offer.cost
            self._tally.waits.append(first - asked)
        elif status == BUSY:
            self._tally.rejections.append(now - asked)
        else:
            self._tally.failed += 1

    async def _ask(self) -> tuple[int, float]:
        """Return the status, and when the first part came."""
        first, ended = 0.0, False
        request = self._session.post(self._url, json=self._body, headers=self._headers)
        async with request as response:
            async for line in response.content:
                first = first or time.monotonic()
                ended = ended or b"[DONE]" in line
            if response.status == 200 and not ended:
                raise aiohttp.ClientPayloadError("the stream has no end")
            return response.status, first
