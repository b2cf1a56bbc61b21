"""Tries a model where it runs: is it there, does it fit the catalog, does a real call go well."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from libs.common.catalog import Model
from libs.common.envelope import InferReply, InferRequest, Outcome, TimeBounds
from libs.common.errors import RequestError
from libs.common.hops import connect
from services.entry.tasks.base import Binary
from services.entry.tasks.registry import TaskRegistry
from services.models_cli.samples import sample
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend
from services.server.backends.triton import TritonBackend
from services.server.endpoints import Endpoint

LONGEST_SHOWN = 100


class Trial:
    """Calls models at their addresses as a server would."""

    def __init__(self, *, root: Path, keys: Path | None) -> None:
        hop = partial(connect, transport="lean")
        self._triton = TritonBackend(hop, adapter_path=lambda _: "")
        self._http = OpenAiBackend(keys=Keys(keys))
        self._tasks = TaskRegistry(lambda path: (root / path).read_text("utf-8"))

    async def flaw(self, model: Model, address: str) -> str:
        """Return what is wrong with the model at this address, in words; empty where it fits."""
        backend = self._http if model.backend.kind == "openai_http" else self._triton
        flaw = await backend.flaw(_endpoint(address), model)
        if flaw is not None:
            return flaw
        what = "the list of models" if model.backend.kind == "openai_http" else "the model"
        return (
            f"{what} cannot be had: is the address right, is the server up, and is "
            f"{model.served_as!r} loaded there?"
        )

    async def call(self, model: Model, address: str) -> str:
        """Make a real call, and say what came of it; raises RequestError."""
        task = self._tasks.of(model)
        parsed = task.parse(sample(model))
        request = InferRequest(
            request_id="check",
            account="check",
            model=model.name,
            payload=task.payload(parsed, stream=False, adapter=""),
        )
        request.payload_kind = task.payload_kind
        request.task = model.task
        request.time_bounds = TimeBounds(total_ms=int(1000 * model.timeouts.first_part_s))
        backend = self._http if model.backend.kind == "openai_http" else self._triton
        began = time.monotonic()
        answer = await backend.infer(
            _endpoint(address), model, request, timeout_s=model.timeouts.first_part_s
        )
        reply = InferReply(payload=answer.payload, outcome=Outcome())
        shown = _shown(task.render(parsed, reply))
        return f"answered in {1000 * (time.monotonic() - began):.0f} ms: {shown}"

    async def close(self) -> None:
        """Close all connections."""
        await self._triton.close()
        await self._http.close()


@asynccontextmanager
async def trial(*, root: Path, keys: Path | None) -> AsyncIterator[Trial]:
    """Try models while inside."""
    opened = Trial(root=root, keys=keys)
    try:
        yield opened
    finally:
        await opened.close()


async def told(trial: Trial, model: Model, address: str) -> tuple[bool, str]:
    """Return whether all is well with a model at an address, and a line that says so or why not."""
    flaw = await trial.flaw(model, address)
    if flaw:
        return False, flaw
    try:
        return True, await trial.call(model, address)
    except RequestError as error:
        return False, f"a call failed with {error.code} {error.reason}: {error}"


def _endpoint(address: str) -> Endpoint:
    return Endpoint(instance="check", address=address, concurrency=1, external=True)


def _shown(result: Any) -> str:
    if isinstance(result, Binary):
        return f"{len(result.content)} bytes of {result.content_type}"
    text = orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
