"""What analytics' tests share: events, batches, a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from libs.common.envelope import RequestSource
from libs.common.events.codec import encode
from libs.common.events.framing import encode_batch
from libs.common.events.values import Batch, InferenceEvent
from services.analytics.ports import StoreError

HOUR_MS = 3_600_000
MODEL = "@cf/demo/text-generation"


def event(number: int = 1, **changes: Any) -> InferenceEvent:
    values: dict[str, Any] = {
        "account_id": "a" * 32,
        "model_id": MODEL,
        "request_id": f"01HZX{number:021d}",
        "timestamp_ms": 1_000 * HOUR_MS + number,
        "request_source": RequestSource.REST,
        "request_time_ms": 10.0,
        "neurons": 1.5,
        "tokens_in": 3,
        "tokens_out": 7,
        "http_status": 200,
    }
    return InferenceEvent(**(values | changes))


def batch(first: int, count: int, *, server: str = "ams-0", boot_epoch: int = 1) -> Batch:
    return Batch(
        server=server,
        boot_epoch=boot_epoch,
        first_sequence=first,
        events=tuple(event(number) for number in range(first, first + count)),
    )


def frame(batch: Batch) -> bytes:
    """The batch as a sink writes it."""
    messages = [
        encode(each, server=batch.server, boot_epoch=batch.boot_epoch, sequence=sequence)
        for sequence, each in enumerate(batch.events, batch.first_sequence)
        if each is not None
    ]
    return encode_batch(
        messages,
        server=batch.server,
        boot_epoch=batch.boot_epoch,
        first_sequence=batch.first_sequence,
    )


class FakeStore:
    """Keeps batches in a list; fails while it is told to, waits while its gate is closed."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.writes: list[int] = []
        self.failing: Exception | None = None
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, batches: Sequence[Batch]) -> None:
        await self.gate.wait()
        if self.failing is not None:
            self.failures += 1
            raise self.failing
        self.batches += batches
        self.writes.append(len(batches))

    def break_down(self) -> None:
        self.failing = StoreError("the disk is full")

    @property
    def sequences(self) -> list[int]:
        return [
            sequence
            for batch in self.batches
            for sequence, _ in enumerate(batch.events, batch.first_sequence)
        ]
