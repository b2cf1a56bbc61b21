"""`constellation up` as a user has it: real processes, a real Triton, HTTP from outside."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.processes import cpu_seconds
from tests.system.harness import (
    CHAT,
    EMBED,
    TOKEN,
    Service,
    Up,
    constellation,
    processes_of,
    tritons_of,
    until,
)
from tests.system.load import LOST, Load

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]


def frames(text: str) -> list[Any]:
    datas = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert datas[-1] == "[DONE]"
    return [json.loads(data) for data in datas[:-1]]


def test_the_printed_calls_work(up: Up) -> None:
    calls = [line for line in up.service.text().splitlines() if line.startswith("  curl ")]
    assert len(calls) == 3

    env = {**os.environ, "TOKEN": TOKEN}  # what goes into a file has no token in it
    chat, stream, embedding = (subprocess.check_output(call, shell=True, env=env) for call in calls)

    assert "Paris" in json.loads(chat)["result"]["response"]
    assert len(frames(stream.decode())) > 10
    assert json.loads(embedding)["result"]["shape"] == [2, 384]


def test_its_status_is_seen_at_a_glance(up: Up) -> None:
    told: dict[str, Any] = {}

    def is_healthy() -> bool:
        command = [sys.executable, "-m", "services.cli", "status", "--state-dir", str(up.state)]
        ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        told.update(json.loads(ended.stdout))
        return ended.returncode == 0

    until(is_healthy, seconds=30, what=lambda: str(told.get("findings")))
    assert told["health"] == "healthy"
    assert CHAT in told["models"]
    assert {each["kind"] for each in told["status"]["peers"]} == {"entry", "server", "node"}
    assert len(told["versions"]) == 1
    assert [each["name"] for each in told["analytics"]["stores"]] == ["duckdb"]


def test_a_stream_arrives_token_by_token(up: Up) -> None:
    arrivals = []
    with up.client.http.stream(
        "POST",
        f"{up.client.account}/ai/run/{CHAT}",
        json={"prompt": "Tell me a story.", "stream": True, "max_tokens": 30, "seed": 1},
    ) as response:
        for line in response.iter_lines():
            if line.startswith('data: {"response"'):
                arrivals.append(time.monotonic())  # noqa: PERF401 - as they come

    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(arrivals) >= 20
    assert sum(gap > 0.01 for gap in gaps) > len(gaps) / 2  # 20 ms apart, not in one heap


def test_errors_have_their_codes(up: Up) -> None:
    run = f"{up.client.account}/ai/run/{CHAT}"
    anonymous = up.client.http.post(run, json={"prompt": "x"}, headers={"Authorization": ""})
    unknown = up.client.run("@cf/demo/nothing", prompt="x")
    bad = up.client.run(CHAT, prompt="x", max_tokens=9999)
    finetune = up.client.run(CHAT, prompt="x", lora="nobody's")

    found = [
        (each.status_code, each.json()["errors"][0]["code"])
        for each in (anonymous, unknown, bad, finetune)
    ]
    assert found == [(401, 10000), (400, 5007), (400, 5006), (400, 5006)]
    assert "max_tokens" in bad.json()["errors"][0]["message"]
    assert "nobody's" in finetune.json()["errors"][0]["message"]


PROMPTS = ("Hello!", "Tell me a short story.", "What is the capital of Spain?", "Who are you?")


def test_adapters_mixed_in_one_instance_answer_as_each_does_alone(up: Up) -> None:
    def answer(number: int) -> str:
        lora = (None, "pirate", "haiku")[number % 3]
        body = {"prompt": PROMPTS[number % 4], "seed": 7 + number, "max_tokens": 24}
        response = up.client.run(CHAT, **body, **({"lora": lora} if lora else {}))
        assert response.status_code == 200, response.text
        return str(response.json()["result"]["response"])

    alone = [answer(number) for number in range(32)]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(answer, range(32)))

    assert together == alone
    assert len(set(alone)) > 8


def test_every_request_is_an_event(up: Up) -> None:
    before = up.counted()
    for _ in range(5):
        up.client.run(CHAT, prompt="Hi", max_tokens=2)
        up.client.run(EMBED, text="hi")
    up.client.run(CHAT, prompt="x", max_tokens=9999)  # refused by entry: no event

    after = up.counted()

    grown = {
        model: after[model]["requests"] - before.get(model, {"requests": 0})["requests"]
        for model in (CHAT, EMBED)
    }
    assert grown == {CHAT: 5, EMBED: 5}
    assert 0 < after[CHAT]["p50_ms"] <= after[CHAT]["p95_ms"] < 60_000
    told = up.client.http.get(f"{up.client.account}/ai/usage").json()["result"]
    assert {row["model"]: row["requests"] for row in told}[CHAT] == after[CHAT]["requests"]


def test_clients_that_leave_free_their_permits_and_stop_the_model_at_once(up: Up) -> None:
    free = permits(up)
    with ExitStack() as streams:
        lines = [streams.enter_context(streaming(up)) for _ in range(3)]
        assert permits(up) == free - len(lines)
        busy = stub_seconds(up.state, over=0.6)
        left = time.monotonic()
    until(lambda: permits(up) == free, seconds=3, what="the permits are free again")
    permits_s = time.monotonic() - left
    time.sleep(max(0.0, 0.1 - permits_s))
    still = stub_seconds(up.state, over=0.6)

    sys.stdout.write(
        f"permits back after {permits_s:.3f} s; CPU of the models in 0.6 s: "
        f"{busy:.2f} s with 3 streams, {still:.2f} s from 0.1 s after they were left\n"
    )
    assert permits_s < 1  # 0.1 where nothing else runs: what was printed tells
    assert busy > 4 * still  # three streams of 500 tokens would go on for ten seconds


@contextmanager
def streaming(up: Up) -> Iterator[Iterator[str]]:
    """Begin a long stream, and leave it in the middle at the end."""
    body = {"prompt": "Tell me a story.", "stream": True, "max_tokens": 500, "seed": 1}
    with up.client.http.stream("POST", f"{up.client.account}/ai/run/{CHAT}", json=body) as stream:
        lines = stream.iter_lines()  # to be kept: without it, the connection is closed
        next(lines)
        yield lines


def permits(up: Up) -> float:
    return up.client.metric("constellation_server_available_permits", model=CHAT)


def stub_seconds(state: Path, *, over: float) -> float:
    """CPU that the models' processes use in some seconds."""
    before = {pid: cpu_seconds([pid]) for pid in stubs(state)}
    time.sleep(over)
    return sum(cpu_seconds([pid]) - before[pid] for pid in stubs(state) if pid in before)


def stubs(state: Path) -> list[int]:
    """The models' processes; the demo's may be unloaded at any time."""
    return [pid for pid, each in processes_of(state).items() if "python_backend_stub" in each]


def test_a_second_up_in_the_same_folder_or_on_the_same_port_is_refused(up: Up, state: Path) -> None:
    same_folder = Service(["up", "--http-port", "0", "--grpc-port", "0"], up.state).start()
    assert same_folder.process.wait(30) == 1
    assert "is in use by another `constellation up`" in same_folder.text()

    same_port = Service(["up", "--http-port", str(up.http), "--grpc-port", "0"], state).start()
    assert same_port.process.wait(60) == 1
    assert f"cannot listen on 127.0.0.1:{up.http}" in same_port.text()
    assert "Traceback" not in same_port.text() + same_folder.text()
    assert processes_of(state) == {}


def test_killed_tritons_come_back_and_few_requests_notice(
    own: Callable[..., Up], state: Path, told: Callable[[str, object], None]
) -> None:
    up = own()
    with Load(up.client) as load:
        until(lambda: load.good_since(0) > 10, seconds=30, what="answers")
        victims = tritons_of(state)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: load.good_since(killed) > 20, seconds=60, what="answers after the kill")

    told("kill -9 of all Tritons of `up`", load)
    assert set(load.ends()) <= {200, 503}
    assert load.failed <= 4  # what was in flight; the rest waited for the new one
    assert not victims.keys() & tritons_of(state).keys()
    assert up.service.stop() == 0
    assert processes_of(state) == {}


def test_analytics_killed_costs_no_call_and_no_event(
    own: Callable[..., Up], told: Callable[[str, object], None]
) -> None:
    up = own()
    with Load(up.client) as load:
        until(lambda: load.good_since(0) > 10, seconds=30, what="answers")
        commands = processes_of(up.state).items()
        (analytics,) = (pid for pid, each in commands if "services.cli analytics" in each)
        os.kill(analytics, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: load.good_since(killed) > 30, seconds=30, what="answers without it")
        until(
            lambda: up.client.metric("constellation_analytics_open_connections") > 0,
            seconds=30,
            what="analytics is back, and has its server",
        )

    told("kill -9 of the analytics of `up`", load)
    assert set(load.ends()) == {200}
    ran = sum(each["requests"] for each in up.counted().values())
    assert ran == len(load.statuses)


def test_up_killed_under_load_leaves_nothing_and_starts_again(
    own: Callable[..., Up], state: Path, told: Callable[[str, object], None]
) -> None:
    up = own()
    with Load(up.client) as load:
        until(lambda: load.good_since(0) > 10, seconds=30, what="answers")
        up.service.kill()
        killed = time.monotonic()
        until(lambda: not processes_of(state), seconds=15, what="everything is gone")
        up.start()
        until(lambda: load.good_since(killed) > 10, seconds=60, what="answers again")

    told("kill -9 of `up`, and its start", load)
    assert set(load.ends()) <= {200, LOST}  # nobody is there to answer
    good = load.ends()[200]
    counted = up.counted()[CHAT]
    assert good - 10 <= counted["requests"] - counted["errors"] <= good + 10
    assert up.service.stop() == 0
    assert processes_of(state) == {}


def test_ctrl_c_lets_a_request_in_flight_finish(own: Callable[..., Up], state: Path) -> None:
    up = own()
    body = {"prompt": "Tell me a story.", "max_tokens": 100, "seed": 3, "stream": True}
    with up.client.http.stream("POST", f"{up.client.account}/ai/run/{CHAT}", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        up.service.process.send_signal(signal.SIGINT)
        rest = list(lines)

    assert rest[-2:] in (["data: [DONE]", ""], ["", "data: [DONE]"]) or "data: [DONE]" in rest
    assert up.service.process.wait(40) == 0
    assert processes_of(state) == {}


def test_under_load_a_second_instance_comes_and_goes_without_a_failed_request(
    own: Callable[..., Up], state: Path
) -> None:
    up = own()

    def permits() -> float:
        return up.client.metric("constellation_server_total_permits", model=CHAT)

    assert permits() == 4
    with Load(up.client, threads=16) as load:
        until(lambda: permits() == 8, seconds=40, what="a second instance")
        assert len(tritons_of(state)) == 3
        assert "override" in constellation(state, "scale", CHAT, "--max", "1", "--for", "10m")
        until(lambda: permits() == 4, seconds=40, what="one instance again")
    until(lambda: len(tritons_of(state)) == 2, seconds=20, what="its Triton is gone")

    assert {status for _, status in load.statuses} == {200}
    told = constellation(state, "explain", CHAT, "--last", "50")
    assert "the maximum is 1; an override holds until" in told
    assert up.service.stop() == 0


def test_a_model_that_sleeps_wakes_for_its_first_call_within_five_seconds(
    own: Callable[..., Up], told: Callable[[str, object], None]
) -> None:
    up = own()
    began = time.monotonic()
    answer = up.client.run("@cf/demo/dumb-pipe", any="thing")
    took_s = time.monotonic() - began

    assert answer.status_code == 200
    told("a model that sleeps", f"its first call was answered after {took_s:.1f} s")
    assert took_s < 5


def test_a_call_that_cannot_wait_for_the_boot_wakes_it_for_the_next(
    own: Callable[..., Up],
) -> None:
    up = own()

    def call(queue_ms: int) -> Any:
        options = {"maxQueueMs": queue_ms}
        return up.client.run("@cf/demo/summarization", input_text="Hi.", options=options)

    refused = call(100)

    assert refused.status_code == 429
    assert refused.json()["errors"][0]["code"] == 3054
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    until(lambda: call(5_000).status_code == 200, seconds=20, what="a second try")


def test_two_colos_share_one_entry(own: Callable[..., Up], state: Path) -> None:
    up = own("--colos", "ams,iad")

    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda n: up.client.run(CHAT, prompt="Hello!", max_tokens=40), range(24))
        )

    assert {each.status_code for each in answers} == {200}
    served = {
        colo: up.client.metric("constellation_server_requests_total", colo=colo, model=CHAT)
        for colo in ("ams", "iad")
    }
    assert sum(served.values()) == 24
    assert min(served.values()) > 0  # the far one helps when the near one is full
    assert up.service.stop() == 0
