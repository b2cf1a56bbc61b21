"""The access log: one line of JSON for each request that an entry has answered.

Lines are gathered and written together, by opening the file anew, so that whoever rotates it
needs to tell nobody. Prompts, answers and tokens are never in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from services.entry.metrics import Counted

FLUSH_S: Final = 0.2
MOST_LINES: Final = 10_000  # that wait to be written; what is beyond is lost, and counted
STDOUT: Final = "-"
log = logging.getLogger(__name__)


class AccessLog:
    """Takes the end of every request; never waits for the disk on the way of one."""

    def __init__(self, path: str, *, now: Callable[[], float] = time.time) -> None:
        """`path` is a file, or `-` for standard output."""
        self._path = path
        self._now = now
        self._lines: list[bytes] = []
        self._lost = 0

    def __repr__(self) -> str:
        return f"<AccessLog {self._path} waiting={len(self._lines)} lost={self._lost}>"

    def __call__(self, counted: Counted, status: int) -> None:
        """Take one request as it ended."""
        if len(self._lines) >= MOST_LINES:
            self._lost += 1
            return
        self._lines.append(orjson.dumps(self._told(counted, status)) + b"\n")

    async def run(self) -> None:
        """Write what has come until cancelled, and then the rest."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                self.flush()
        finally:
            self.flush()

    def flush(self) -> None:
        """Write what waits; what cannot be written is lost, and said."""
        lines, self._lines = self._lines, []
        lost, self._lost = self._lost, 0
        if not lines:
            return
        try:
            if self._path == STDOUT:
                sys.stdout.buffer.write(b"".join(lines))
                sys.stdout.buffer.flush()
            else:
                _append(Path(self._path), b"".join(lines))
        except OSError as error:
            lost += len(lines)
            log.error("the access log %s cannot be written: %s", self._path, error)
        if lost:
            log.error("%d lines of the access log are lost", lost)

    def _told(self, counted: Counted, status: int) -> dict[str, Any]:
        """Return what is said of a request: what it does not have is left out."""
        error, plan = counted.error, counted.plan
        now = datetime.fromtimestamp(self._now(), UTC).replace(tzinfo=None)
        told: dict[str, Any] = {
            "time": now.isoformat(timespec="milliseconds") + "Z",
            "status": status,
            "duration_ms": round(1000 * (time.monotonic() - counted.began), 2),
            "colo": counted.colo,
            **counted.told(),
        }
        if error is not None:
            told |= {"code": error.code, "reason": error.reason}
        if plan is not None:
            request, outcome = plan.request, plan.outcome
            told |= {
                "account": request.account,
                "model": request.model,
                "task": request.task,
                "stream": request.stream,
                "bytes_in": request.bytes_in,
                "attempt": request.attempt,
                "request_id": request.request_id,
            }
            if plan.call.model != request.model:
                told["asked_for"] = plan.call.model
            if outcome is not None:
                told["tokens_in"] = outcome.usage.tokens_in
                told["tokens_out"] = outcome.usage.tokens_out
                told["served_in"] = outcome.serving_colo
        return {name: value for name, value in told.items() if value != ""}


def _append(path: Path, content: bytes) -> None:
    """Add to a file that its owner alone reads."""
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(opened, content)
    finally:
        os.close(opened)
