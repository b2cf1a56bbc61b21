"""Idempotency keys: one run for all calls of a key, and what becomes of those that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from libs.common.envelope import InferRequest, TimeBounds
from libs.common.errors import Aborted, DeadlineExceeded, KeyReused, ModelFailed, StreamLost
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag
from services.server.idempotency import KeptLimits
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_request, a_server, a_world, an_instance
from tests.waiting import until

BOUNDS = TimeBounds(first_part_ms=5_000, idle_ms=5_000, total_ms=9_000)


def keyed(number: int = 0, **rest: Any) -> InferRequest:
    told = {"request_id": f"{number:026}", "idempotency_key": "k", "time_bounds": BOUNDS}
    return a_request(**told | rest)


class Rig:
    """A server with a model that answers when it is let."""

    def __init__(self, **limits: Any) -> None:
        self.backend, self.sink = ScriptedBackend(), MemorySink()
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.answer = b"one"
        self.backend.on_infer = self._infer
        self.backend.on_stream = self._stream
        world = a_world(an_instance(0))
        kept = KeptLimits(**limits)
        self.server: InferenceServer = a_server(world, self.backend, self.sink, kept=kept)
        self.seen: dict[int, list[bytes]] = {}

    @property
    def runs(self) -> int:
        return len(self.backend.calls)

    async def _infer(self, *_: object) -> bytes:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.answer

    async def _stream(self, *_: object) -> AsyncGenerator[bytes, None]:
        yield b"a"
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        yield self.answer

    def infer(self, number: int = 0, **rest: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self.server.infer(keyed(number, **rest)))

    def stream(self, number: int = 0, **rest: Any) -> asyncio.Task[Any]:
        parts = self.seen[number] = []
        request = keyed(number, stream=True, **rest)
        return asyncio.create_task(self.server.stream(request, parts.extend))  # type: ignore[arg-type]

    def call(self, kind: str, number: int = 0, **rest: Any) -> asyncio.Task[Any]:
        return getattr(self, kind)(number, **rest)  # type: ignore[no-any-return]

    async def all_wait(self) -> None:
        await until(lambda: self.runs)
        await asyncio.sleep(0.01)


@pytest.fixture(params=["infer", "stream"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_call_that_comes_again_gets_the_first_ones_answer(kind: str) -> None:
    rig = Rig()
    rig.gate.set()
    first, second = await rig.call(kind, 1), await rig.call(kind, 2)

    assert rig.runs == 1
    if kind == "infer":
        assert first.payload == second.payload == b"one"
    else:
        assert rig.seen[1] == rig.seen[2] == [b"a", b"one"]
        assert second.usage.tokens_out == first.usage.tokens_out


async def test_who_comes_while_the_first_runs_waits_for_it(kind: str) -> None:
    rig = Rig()
    calls = [rig.call(kind, number) for number in range(1, 4)]
    await rig.all_wait()
    assert not any(each.done() for each in calls)
    if kind == "stream":
        assert [rig.seen[number] for number in range(1, 4)] == [[b"a"]] * 3

    rig.gate.set()
    await asyncio.gather(*calls)

    assert rig.runs == 1
    if kind == "stream":
        assert [rig.seen[number] for number in range(1, 4)] == [[b"a", b"one"]] * 3


@pytest.mark.parametrize(
    "other",
    [{"payload": b"else"}, {"adapter": "pirate"}],
    ids=["another input", "another adapter"],
)
async def test_a_key_with_another_request_is_refused(kind: str, other: dict[str, Any]) -> None:
    rig = Rig()
    running = rig.call(kind, 1)
    await rig.all_wait()

    with pytest.raises(KeyReused):
        await rig.call(kind, 2, **other)
    rig.gate.set()
    await running
    with pytest.raises(KeyReused):
        await rig.call(kind, 3, **other)

    assert rig.runs == 1


async def test_a_stream_and_an_answer_are_not_the_same_request() -> None:
    rig = Rig()
    rig.gate.set()
    await rig.infer(1)

    with pytest.raises(KeyReused):
        await rig.stream(2)


@pytest.mark.parametrize("other", [{"account": "b" * 32}, {"idempotency_key": "other"}])
async def test_another_account_or_key_runs_by_itself(kind: str, other: dict[str, Any]) -> None:
    rig = Rig()
    rig.gate.set()
    await rig.call(kind, 1)
    await rig.call(kind, 2, **other)

    assert rig.runs == 2


async def test_options_may_differ(kind: str) -> None:
    rig = Rig()
    rig.gate.set()
    await rig.call(kind, 1)
    await rig.call(kind, 2, priority=9, reject_if_busy=True, time_bounds=TimeBounds())

    assert rig.runs == 1


async def test_a_failure_is_told_to_those_who_wait_and_then_forgotten(kind: str) -> None:
    rig = Rig()
    rig.error = ModelFailed("bad")
    calls = [rig.call(kind, number) for number in range(1, 4)]
    await rig.all_wait()
    rig.gate.set()
    failed = await asyncio.gather(*calls, return_exceptions=True)
    rig.error = None
    await rig.call(kind, 4)

    assert rig.runs == 2
    if kind == "infer":
        assert [(type(each), str(each)) for each in failed] == [(ModelFailed, "bad")] * 3
    else:  # who had a part hears that there is no more, and entry goes on
        assert [type(each) for each in failed] == [ModelFailed, StreamLost, StreamLost]


async def test_where_the_first_leaves_before_an_answer_the_next_runs() -> None:
    rig = Rig()
    first, second, third = (rig.infer(number) for number in range(1, 4))
    await rig.all_wait()
    first.cancel()
    await until(lambda: rig.runs == 2)
    rig.gate.set()

    assert (await second).payload == (await third).payload == b"one"
    assert rig.runs == 2


async def test_where_the_first_leaves_in_a_streams_middle_its_followers_hear_that_it_is_lost() -> (
    None
):
    rig = Rig()
    first, second = rig.stream(1), rig.stream(2)
    await rig.all_wait()
    first.cancel()

    with pytest.raises(StreamLost) as lost:
        await second
    assert lost.value.sent


async def test_who_waits_keeps_its_own_bounds(kind: str) -> None:
    rig = Rig()
    first = rig.call(kind, 1)
    await rig.all_wait()

    short = TimeBounds(first_part_ms=50, idle_ms=50, total_ms=60)
    with pytest.raises(DeadlineExceeded):
        await rig.call(kind, 2, time_bounds=short)
    rig.gate.set()
    await first


async def test_who_waits_is_cancelled_by_its_id_and_the_first_runs_on(kind: str) -> None:
    rig = Rig()
    first, second = rig.call(kind, 1), rig.call(kind, 2, client_request_id="mine")
    await rig.all_wait()

    assert await rig.server.cancel(account="b" * 32, request_id="mine") == []
    assert await rig.server.cancel(account="a" * 32, request_id="mine") == [f"{2:026}"]
    with pytest.raises(Aborted):
        await second
    rig.gate.set()
    await first
    assert rig.runs == 1


async def test_the_first_is_cancelled_by_its_id(kind: str) -> None:
    rig = Rig()
    first = rig.call(kind, 1)
    await rig.all_wait()

    assert await rig.server.cancel(account="a" * 32, request_id=f"{1:026}") == [f"{1:026}"]
    with pytest.raises(Aborted):
        await first


async def test_an_answer_is_forgotten_after_its_time(kind: str) -> None:
    rig = Rig(keep_s=0.5)
    rig.gate.set()
    await rig.call(kind, 1)
    await rig.call(kind, 2)
    assert rig.runs == 1
    await asyncio.sleep(0.5)
    await rig.call(kind, 3)

    assert rig.runs == 2


async def test_what_all_answers_take_is_bounded_and_the_oldest_leave(kind: str) -> None:
    rig = Rig(total_bytes=3 * 1100, answer_bytes=2000)
    rig.gate.set()
    for number in range(50):
        await rig.call(kind, number, idempotency_key=f"k{number}")
    assert rig.runs == 50
    assert rig.server._idempotency._bytes <= 3 * 1100
    assert len(rig.server._idempotency._kept) == len(rig.server._idempotency._ended) == 3

    await rig.call(kind, 99, idempotency_key="k49")
    await rig.call(kind, 99, idempotency_key="k0")

    assert rig.runs == 51


async def test_an_answer_that_is_too_large_is_not_kept(kind: str) -> None:
    rig = Rig(answer_bytes=3000)
    rig.answer = bytes(2500)
    rig.gate.set()
    await rig.call(kind, 1)
    await rig.call(kind, 2)

    assert rig.runs == 2
    assert rig.server._idempotency._kept == {}


async def test_who_follows_a_stream_that_outgrows_the_bound_hears_that_it_is_lost() -> None:
    rig = Rig(answer_bytes=3000)
    rig.answer = bytes(2500)
    first, second = rig.stream(1), rig.stream(2)
    await rig.all_wait()
    rig.gate.set()

    with pytest.raises(StreamLost):
        await second
    await first
    assert rig.seen[1] == [b"a", rig.answer]


async def test_the_event_of_a_replay_has_a_flag_and_no_neurons(kind: str) -> None:
    rig = Rig()
    rig.gate.set()
    await rig.call(kind, 1)
    await rig.call(kind, 2)

    run, replay = rig.sink.events
    assert not run.flags & Flag.IDEMPOTENCY_REPLAY
    assert replay.flags & Flag.IDEMPOTENCY_REPLAY
    assert (replay.request_id, replay.neurons, replay.tokens_out) == (f"{2:026}", 0.0, 0)
    assert bool(replay.flags & Flag.STREAMED) == (kind == "stream")


async def test_a_replay_tells_how_full_the_shard_is_now_and_costs_nothing(kind: str) -> None:
    rig = Rig()
    rig.gate.set()
    answers = [await rig.call(kind, 1)]
    rig.gate.clear()
    busy = rig.infer(2, idempotency_key="")
    await until(lambda: rig.runs == 2)
    answers.append(await rig.call(kind, 3))
    rig.gate.set()
    await busy

    first, replay = (each.outcome if kind == "infer" else each for each in answers)
    assert (first.usage.neurons > 0, replay.usage.neurons) == (True, 0.0)
    assert replay.usage.tokens_out == first.usage.tokens_out
    assert (first.free_permits, replay.free_permits) == (2, 1)
    assert (replay.serving_colo, replay.chosen_because) == ("", "kept")


async def test_a_call_without_a_key_is_not_looked_at(kind: str) -> None:
    rig = Rig()
    rig.gate.set()
    for number in (1, 2):
        await rig.call(kind, number, idempotency_key="")

    assert (rig.runs, rig.server._idempotency._kept) == (2, {})


async def test_a_slow_follower_does_not_keep_the_first_waiting() -> None:
    rig = Rig()
    first = rig.stream(1)
    await rig.all_wait()
    slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    send: Callable[[Any], Any] = lambda _: slow  # noqa: E731
    second = asyncio.create_task(rig.server.stream(keyed(2, stream=True), send))
    await asyncio.sleep(0.01)
    rig.gate.set()

    await asyncio.wait_for(first, 3)
    assert not second.done()
    slow.set_result(None)
    await second
