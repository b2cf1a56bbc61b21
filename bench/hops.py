"""Loads of the hop alone, without HTTP: large messages to an echo, and to a server of ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from bench.backend_grpc import ECHO
from bench.loads import Job, Mark, Numbers
from bench.ticker import Ticker
from bench.workloads import ACCOUNT, EMBEDDINGS
from libs.common import wire
from libs.common.clients.inference import RemoteInference
from libs.common.envelope import InferRequest, TimeBounds
from libs.lean import Channel, Limits, Method

CALL_S = 30.0
LIMITS = Limits(max_message_bytes=1 << 28)


async def echo(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Send messages there and back."""
    channel = Channel(job.through, limits=LIMITS)
    method, message = Method(ECHO), bytes(job.payload_bytes)

    async def once() -> None:
        answer = await channel.unary(method, message, timeout_s=CALL_S)
        if len(answer) != job.payload_bytes:
            raise OSError(f"{len(answer)} bytes came back of {job.payload_bytes}")

    try:
        return await _in_turns(once, job, mark)
    finally:
        await channel.close()


async def infer(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Send large tensors to a server, which passes them on; the answers are small."""
    server = RemoteInference(job.through, Channel(job.through, limits=LIMITS))
    payload = wire.tensors_to_payload([wire.text("text", bytes(job.payload_bytes))])
    bounds = TimeBounds(first_part_ms=30_000, idle_ms=30_000, total_ms=30_000)

    async def once() -> None:
        request = InferRequest(
            request_id="bench",
            account=ACCOUNT,
            model=EMBEDDINGS,
            payload=payload,
        )
        request.task, request.time_bounds = "text-embeddings", bounds
        await server.infer(request)

    try:
        return await _in_turns(once, job, mark)
    finally:
        await server.close()


async def _in_turns(once: Callable[[], Awaitable[None]], job: Job, mark: Mark) -> Numbers:
    """Keep `concurrency` calls under way, and count those that end while it is measured."""
    count = 0
    until = time.monotonic() + job.warm_s + job.seconds

    async def keep() -> None:
        nonlocal count
        while time.monotonic() < until:
            await once()
            count += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(job.concurrency):
            group.create_task(keep())
        await asyncio.sleep(job.warm_s)
        before, began = count, time.monotonic()
        mark("begin")
        await asyncio.sleep(job.seconds)
        after, elapsed = count, time.monotonic() - began
        mark("end")
    return {"count": after - before, "seconds": elapsed}


MODES: Mapping[str, Callable[[Job, Ticker, Mark], object]] = {"echo": echo, "infer": infer}
