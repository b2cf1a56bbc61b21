"""Generated calls of every operation in the OpenAPI document: no 5xx, nothing undescribed."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from libs.common.clients.control import ControlClient
from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.pb import kserve_pb2 as kserve
from libs.common.ports import Send
from libs.common.world_map import Account
from services.control import app as control
from services.entry.app import Config, serve
from tests.entry.fakes import (
    ACCOUNT,
    OUTCOME,
    SECRET,
    TEXT_MODEL,
    FakeServer,
    entry_of,
    says,
    small_world,
    vectors,
)
from tests.short_dirs import short_dir

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "6"))  # of each operation and mode
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


class Models(FakeServer):
    """Answers as a model of the request's task does."""

    async def infer(self, request: InferRequest) -> InferReply:
        return InferReply(payload=self._answer(request), outcome=OUTCOME)

    async def stream(self, request: InferRequest, send: Send) -> Outcome:
        send((self._answer(request),))
        return OUTCOME

    def _answer(self, request: InferRequest) -> bytes:
        if request.task != "text-embeddings":
            return says("ho", "stop")
        asked = kserve.ModelInferRequest.FromString(request.payload)
        (texts,) = next(each.shape for each in asked.inputs if each.name == "text")
        return vectors(*[[0.5, 0.25]] * texts)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An entry in a loop and a thread of its own."""
    told: Future[str] = Future()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def run(folder: Path) -> None:
        settings = control.Config(state_dir=folder, listen="", grace_s=0.0, keep_free_mb=0)
        plane = control.build(settings, catalog=(TEXT_MODEL, Account(id=ACCOUNT)))
        config = Config(colo="ams", http="127.0.0.1:0", grpc="", drain_s=2.0)
        async with (
            control.serve(settings, plane),
            ControlClient(f"unix:{folder}/control.sock") as client,
        ):
            servers = {"ams": Models()}
            entry = entry_of(small_world("ams"), servers, config=config, finetunes=client.finetunes)
            async with serve(config, entry) as bound:
                told.set_result(f"http://{bound.http}")
                await over.wait()

    with short_dir() as folder:
        thread = threading.Thread(target=loop.run_until_complete, args=(run(folder),))
        thread.start()
        yield told.result(timeout=10)
        loop.call_soon_threadsafe(over.set)
        thread.join(timeout=10)
    loop.close()


@pytest.mark.timeout(max(180, 20 * EXAMPLES))
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
def test_every_operation_answers_as_it_is_described(
    url: str, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 20
    statuses: Counter[int] = Counter()

    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            if "account" in case.path_parameters:
                case.path_parameters["account"] = ACCOUNT
            headers = {"Authorization": f"Bearer {SECRET}"}
            answer = case.call_and_validate(
                base_url=url, headers=headers, checks=CHECKS, timeout=10
            )
            statuses[answer.status_code] += 1

        try:
            check()
        except Exception as error:
            if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
                raise  # what has no parameters cannot be asked wrongly

    assert statuses.total() >= EXAMPLES * 3
    assert {200, 400} <= statuses.keys()
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
