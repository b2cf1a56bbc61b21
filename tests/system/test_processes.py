"""Every service in a process of its own, two colos, gRPC between them, driven over HTTP."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.short_dirs import short_dir
from tests.system.cluster import Cluster
from tests.system.harness import (
    CHAT,
    EMBED,
    Load,
    Streamed,
    cleaned_up,
    processes_of,
    streamed,
    tritons_of,
    until,
    usage,
)

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with short_dir() as state, cleaned_up(state):
        made = Cluster(state)
        made.start()
        yield made
        made.stop()


def test_both_tasks_are_answered_through_every_process(cluster: Cluster) -> None:
    chat = cluster.client.run(CHAT, prompt="What is the capital of France?", temperature=0)
    embedding = cluster.client.run(EMBED, text=["a", "b"])

    assert chat.status_code == 200, chat.text
    assert "Paris" in chat.json()["result"]["response"]
    assert embedding.json()["result"]["shape"] == [2, 384]


def test_a_stream_passes_every_process(cluster: Cluster) -> None:
    body = {"prompt": "Hello!", "stream": True, "max_tokens": 20}
    with cluster.client.http.stream(
        "POST", f"{cluster.client.account}/ai/run/{CHAT}", json=body
    ) as response:
        lines = [line for line in response.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert '"usage"' in lines[-2]


def test_a_full_colo_is_helped_by_the_other(cluster: Cluster) -> None:
    def served(colo: str) -> float:
        return cluster.metric(colo, "constellation_server_requests_total", status="200")

    before = served("iad")
    with Load(cluster.client, threads=12) as load:
        until(lambda: served("iad") > before, seconds=20, what="iad helps")

    assert {status for _, status in load.statuses} == {200}


def test_nobody_notices_that_the_scheduler_is_killed(cluster: Cluster) -> None:
    with Load(cluster.client) as load:
        until(lambda: load.good_since(0) > 10, seconds=30, what="answers")
        cluster.services["scheduler"].kill()
        killed = time.monotonic()
        until(lambda: load.good_since(killed + 7) > 10, seconds=40, what="answers without it")
        cluster.services["scheduler"].start().wait_for(" is up: ")
        back = time.monotonic()
        until(lambda: load.good_since(back + 7) > 10, seconds=40, what="answers with it again")

    assert {status for _, status in load.statuses} == {200}


def test_a_server_that_starts_while_control_is_away_serves_from_its_last_snapshot(
    cluster: Cluster,
) -> None:
    cluster.services["scheduler"].kill()
    cluster.services["ams-server"].kill()
    try:
        log = cluster.services["ams-server"].start().text
        until(lambda: cluster.permits("ams") >= 4, seconds=30, what=log)
    finally:
        cluster.services["scheduler"].start().wait_for(" is up: ")
    until(cluster.all_ready, seconds=30, what="everything is back")
    until(
        lambda: cluster.client.run(CHAT, prompt="Hello!", max_tokens=2).status_code == 200,
        seconds=20,
        what="an answer",
    )


def test_streams_of_a_killed_server_go_on_in_another_colo(cluster: Cluster) -> None:
    bodies = [{"prompt": f"Story {n}", "seed": n + 1, "max_tokens": 120} for n in range(8)]

    def ask(body: dict[str, Any]) -> Streamed:
        return streamed(cluster.client, **body)

    def went_on() -> float:
        name = "constellation_entry_broken_streams_total"
        return cluster.client.metric(name, end="continued")

    with ThreadPoolExecutor(len(bodies)) as pool:
        undisturbed = list(pool.map(ask, bodies))
        before = went_on()
        asked = pool.map(ask, bodies)
        time.sleep(0.7)
        cluster.services["ams-server"].kill()
        seen = list(asked)
    cluster.services["ams-server"].start().wait_for(" is up: ")

    assert seen == undisturbed
    assert not [each for each in seen if each.problem]
    assert went_on() > before
    until(cluster.all_ready, seconds=30, what="everything is back")


def test_tritons_outlive_their_agent_and_are_adopted(cluster: Cluster) -> None:
    node = cluster.services["ams-node"]
    mine = cluster.lasting_tritons("ams")
    with Load(cluster.client) as load:
        node.kill()
        killed = time.monotonic()
        until(lambda: load.good_since(killed + 3) > 10, seconds=30, what="answers without it")
        node.start().wait_for(" is up: ")
        until(lambda: load.good_since(killed + 6) > 10, seconds=30, what="answers with it")

    assert {status for _, status in load.statuses} == {200}
    assert mine <= tritons_of(cluster.state).keys()


def test_a_killed_triton_is_mended_by_its_node(cluster: Cluster) -> None:
    victims = {p for p, each in tritons_of(cluster.state).items() if "text_generation" in each}
    with Load(cluster.client) as load:
        until(lambda: load.good_since(0) > 10, seconds=30, what="answers")
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: load.good_since(killed) > 20, seconds=60, what="answers after the kill")

    statuses = [status for _, status in load.statuses]
    assert set(statuses) <= {200, 503}
    assert statuses.count(503) <= 8
    until(cluster.all_ready, seconds=30, what="every colo has its permits")


def test_every_request_is_an_event(cluster: Cluster) -> None:
    until(lambda: usage(cluster.state), seconds=10, what="usage")
    before = usage(cluster.state)[CHAT]["requests"]
    for _ in range(7):
        assert cluster.client.run(CHAT, prompt="Hi", max_tokens=2).status_code == 200

    assert usage(cluster.state)[CHAT]["requests"] == before + 7


def test_stopping_the_nodes_leaves_their_tritons_to_the_next(cluster: Cluster) -> None:
    running = cluster.lasting_tritons("iad")
    assert cluster.services["iad-node"].stop() == 0

    assert running == cluster.lasting_tritons("iad") != set()

    cluster.services["iad-node"].start().wait_for(" is up: ")
    assert any("iad-node" in each for each in processes_of(cluster.state).values())
