"""Chains of fallbacks: where a call goes whose model has no room or fails."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import ClientSession

from libs.common.catalog import Access, Model, Timeouts
from libs.common.clock import ManualClock
from libs.common.errors import (
    BadInput,
    DeadlineExceeded,
    KillsInstances,
    ModelFailed,
    ModelRefused,
    ModelStarting,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.world import World
from services.entry.gateway import Gateway
from tests.entry.fakes import (
    ACCOUNT,
    OTHER_ACCOUNT,
    SECRET,
    FakeServer,
    entry_of,
    listening,
    place,
    says,
    small_world,
)
from tests.entry.gateways import call, read
from tests.fakes import put
from tests.streams import results_of

FIRST, SECOND, THIRD = "@cf/x/first", "@cf/x/second", "@cf/x/third"
AI = f"/client/v4/accounts/{ACCOUNT}/ai"


class ByModel(FakeServer):
    """A server on which every model answers in its own way."""

    def __init__(self, **answers: bytes | BaseException) -> None:
        super().__init__()
        self.answers = answers
        self.models: list[str] = []

    async def infer(self, request: Any) -> Any:
        self._plays(request)
        return await super().infer(request)

    async def stream(self, request: Any, send: Any) -> Any:
        self._plays(request)
        return await super().stream(request, send)

    def _plays(self, request: Any) -> None:
        name = request.model.rpartition("/")[2]
        self.models.append(name)
        self.parts = [self.answers[name]]


def world_of(**fields: dict[str, Any]) -> World:
    """A world with three models, each of which falls back to the next."""
    world = small_world("ams")
    following = {FIRST: (SECOND,), SECOND: (THIRD,), THIRD: ()}
    for name, fallbacks in following.items():
        given = fields.get(name.rpartition("/")[2], {})
        told: dict[str, Any] = {"task": "text-generation", "fallbacks": fallbacks} | given
        put(world, Model(name=name, **told), *place(name, "ams"))
    return world


def gateway(server: FakeServer, **fields: dict[str, Any]) -> Gateway:
    return entry_of(world_of(**fields), {"ams": server}, clock=ManualClock()).gateway


MENDED: list[RequestError] = [
    OutOfCapacity("full"),
    QueueTimeUsedUp("waited"),
    ModelStarting("starting"),
    Unavailable("lost"),
    Unavailable("lost", sent=True),
    ModelFailed("broke", sent=True),
]
NOT_MENDED: list[RequestError] = [
    ModelRefused("no"),
    BadInput("no"),
    KillsInstances("no"),
    DeadlineExceeded("late"),
]


@pytest.mark.parametrize("error", MENDED, ids=repr)
async def test_the_next_model_answers_where_one_cannot(error: RequestError) -> None:
    server = ByModel(first=error, second=says("ho"))
    entry = gateway(server)
    plan = entry.plan(call(model=FIRST))

    answer = await entry.run(plan)

    assert answer.result["response"] == "ho"
    assert plan.model.name == SECOND
    assert server.requests[1].request_id == server.requests[0].request_id
    assert [each.attempt for each in server.requests] == [0, 1]


@pytest.mark.parametrize("error", NOT_MENDED, ids=repr)
async def test_what_another_model_would_not_mend_is_told_at_once(error: RequestError) -> None:
    server = ByModel(first=error)
    entry = gateway(server)

    with pytest.raises(type(error)):
        await entry.run(entry.plan(call(model=FIRST)))

    assert server.models == ["first"]


async def test_a_stream_falls_back_before_its_first_part() -> None:
    server = ByModel(first=OutOfCapacity("full"), second=ModelFailed("no"), third=says("ho"))
    entry = gateway(server)
    plan = entry.plan(call({"prompt": "x", "stream": True}, model=FIRST))

    results = await read(results_of(entry, plan))

    assert results[0]["response"] == "ho"
    assert plan.model.name == THIRD


async def test_a_stream_that_has_begun_stays_with_its_model() -> None:
    server = ByModel(second=says("never"))
    server.answers["first"] = says("ho")
    entry = gateway(server)
    plan = entry.plan(call({"prompt": "x", "stream": True}, model=FIRST))
    server.outcome = None  # it ends as a lost stream does

    with pytest.raises(StreamLost):
        await read(results_of(entry, plan))

    assert "second" not in server.models


@pytest.mark.parametrize("options", [{}, {"priority": 3}], ids=["as most", "with options"])
async def test_each_model_but_the_last_hears_that_another_would_take_the_call(
    options: dict[str, Any],
) -> None:
    no = Unavailable("none is healthy")
    server = ByModel(first=no, second=no, third=says("ho"))
    entry = gateway(server)

    await entry.run(entry.plan(call({"prompt": "x", "options": options}, model=FIRST)))

    assert [each.falls_back for each in server.requests] == [True, True, False]


async def test_a_fallback_that_is_not_for_the_account_is_none() -> None:
    server = ByModel(first=says("ho"), second=says("never"))
    others = Access(accounts=(OTHER_ACCOUNT,))
    entry = gateway(server, second={"access": others}, third={"access": others})

    await entry.run(entry.plan(call(model=FIRST)))

    assert not server.requests[0].falls_back


async def test_where_all_fail_the_error_is_that_of_the_model_asked_for() -> None:
    first = OutOfCapacity("full", retry_after_ms=3000)
    server = ByModel(first=first, second=ModelFailed("no"), third=Unavailable("gone"))
    entry = gateway(server)

    with pytest.raises(OutOfCapacity) as told:
        await entry.run(entry.plan(call(model=FIRST)))

    assert told.value.retry_after_ms == 3000
    assert server.models == ["first", "second", "third"]


@pytest.mark.parametrize(
    "second",
    [{"access": Access(accounts=(OTHER_ACCOUNT,))}, {"schema": {"prompt": {"maxLength": 1}}}],
    ids=["of another account", "narrower than the input"],
)
async def test_a_model_that_does_not_take_the_call_is_passed_over(second: dict[str, Any]) -> None:
    server = ByModel(first=OutOfCapacity("full"), third=says("ho"))
    entry = gateway(server, second=second)

    await entry.run(entry.plan(call(model=FIRST)))

    assert server.models == ["first", "third"]


async def test_the_time_of_the_model_asked_for_bounds_the_whole_chain() -> None:
    clock = ManualClock()
    server = ByModel(first=OutOfCapacity("full"), second=says("ho"))
    world = world_of(first={"timeouts": Timeouts(first_part_s=10, total_s=20)})
    entry = entry_of(world, {"ams": server}, clock=clock).gateway
    plan = entry.plan(call(model=FIRST))
    clock.advance(4)

    await entry.run(plan)

    bounds = server.requests[1].time_bounds
    assert (bounds.first_part_ms, bounds.total_ms) == (6000, 16000)


async def test_after_that_time_no_model_is_tried() -> None:
    clock = ManualClock()
    server = ByModel(first=OutOfCapacity("full"))
    entry = entry_of(world_of(), {"ams": server}, clock=clock).gateway
    plan = entry.plan(call(model=FIRST))
    clock.advance(31)

    with pytest.raises(OutOfCapacity):
        await entry.run(plan)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_answer_names_the_model_that_gave_it(stream: bool) -> None:
    server = ByModel(first=OutOfCapacity("full"), second=says("ho"))
    body = {"prompt": "x", "stream": stream}
    chat = {"model": FIRST, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    async with (
        listening(server, world=world_of()) as bound,
        ClientSession(f"http://{bound.http}", headers={"X-Auth-Key": SECRET}) as http,
    ):
        ran = await http.post(f"{AI}/run/{FIRST}", json=body)
        chatted = await http.post("/v1/chat/completions", json=chat)
        plain = await http.post(f"{AI}/run/{SECOND}", json=body)

        assert ran.headers["x-constellation-model"] == SECOND
        assert f'"model":"{SECOND}"' in await chatted.text()
        assert "x-constellation-model" not in plain.headers
