"""Every service in a process of its own, two colos, gRPC between them, driven over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import pytest

from services.doctor.checks import examine
from services.doctor.facts import Finding
from services.doctor.gathering import gather
from tests.short_dirs import short_dir
from tests.system.cluster import Cluster
from tests.system.harness import (
    ACCOUNT,
    CHAT,
    EMBED,
    ROOT,
    Client,
    cleaned_up,
    constellation,
    processes_of,
    until,
)
from tests.system.load import Load, Streamed, counts, streamed

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with short_dir() as state, cleaned_up(state):
        made = Cluster(state)
        made.start()
        yield made
        made.stop()
        check_events(made)


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


def test_a_full_colo_lets_another_serve_what_may_not_wait(cluster: Cluster) -> None:
    def forwarded() -> float:
        return cluster.metric("ams", "constellation_server_forwarded_total", to="iad")

    statuses: list[int] = []
    options = {"rejectIfBusy": True, "preferredColo": "ams"}  # entry sends it to ams all the same

    def ask(client: Client) -> None:
        body = {"prompt": "Hello!", "max_tokens": 60, "options": options}
        statuses.append(client.run(CHAT, **body).status_code)

    def has_helped() -> bool:
        list(threads.map(ask, clients))
        return forwarded() > before

    before = forwarded()
    port = int(cluster.client.base.rpartition(":")[2])
    clients = [Client(port) for _ in range(24)]  # more than two instances have permits for
    with ThreadPoolExecutor(len(clients)) as threads:
        until(has_helped, seconds=30, what=lambda: f"iad helps: {Counter(statuses)}")
    for each in clients:
        each.close()

    assert set(statuses) <= {200, 429}


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


def test_streams_of_a_killed_server_go_on_in_another_colo(
    cluster: Cluster, told: Callable[[str, object], None]
) -> None:
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

    told("kill -9 of a server under streams alone", counts({}, streams=seen))
    assert seen == undisturbed
    assert not [each for each in seen if each.problem]
    assert went_on() > before
    until(cluster.all_ready, seconds=30, what="everything is back")


def test_every_request_is_an_event(cluster: Cluster) -> None:
    before = cluster.counted()[CHAT]["requests"]
    for _ in range(7):
        assert cluster.client.run(CHAT, prompt="Hi", max_tokens=2).status_code == 200

    assert cluster.counted()[CHAT]["requests"] == before + 7
    last = cluster.client.http.get(f"{cluster.client.account}/ai/usage/requests?limit=7").json()
    assert {each["model_id"] for each in last["result"]} == {CHAT}


def test_what_is_wrong_is_told_and_what_mends_it(cluster: Cluster) -> None:
    def found() -> str:
        return "\n".join(
            f"{each.what} [{each.mend}]" for each in examined(cluster) if each.is_grave
        )

    until(lambda: not found(), seconds=20, what=found)
    lines = constellation(cluster.state, "status").splitlines()
    assert lines[0].endswith("healthy")
    assert max(map(len, lines)) <= 80
    for name in [name for name in cluster.services if name not in ("scheduler", "analytics")]:
        assert any(f" {name} " in line and " now " in line for line in lines), lines

    os.kill(min(cluster.lasting_tritons("ams")), signal.SIGKILL)
    until(lambda: "has failed" in found(), seconds=5, what=found)
    cluster.services["analytics"].kill()
    cluster.services["iad-node"].kill()
    until(lambda: "cannot reach analytics" in found(), seconds=5, what=found)
    until(lambda: "iad-node" in found() and "has not reported" in found(), seconds=12, what=found)
    assert "constellation node --name iad-node --colo iad --control" in found()

    for name in ("analytics", "iad-node"):
        cluster.services[name].start().wait_for(" is up: ")
    until(lambda: not found(), seconds=30, what=found)


def examined(cluster: Cluster) -> list[Finding]:
    """What `constellation doctor` would say now."""
    flags = argparse.Namespace(state_dir=cluster.state, control="", config=ROOT / "config")
    return examine(asyncio.run(gather(flags)))


def test_stopping_the_nodes_leaves_their_tritons_to_the_next(cluster: Cluster) -> None:
    running = cluster.lasting_tritons("iad")
    assert cluster.services["iad-node"].stop() == 0

    assert running == cluster.lasting_tritons("iad") != set()

    cluster.services["iad-node"].start().wait_for(" is up: ")
    assert any("iad-node" in each for each in processes_of(cluster.state).values())


def check_events(cluster: Cluster) -> None:
    """What the events of the whole cluster say, after its end."""
    with duckdb.connect(str(cluster.state / "events.duckdb"), read_only=True) as store:
        hops = store.execute(
            "select hops, count(*) from inference_events"
            f" where account_id = '{ACCOUNT}' and error_code = 0 group by hops"
        ).fetchall()
        repeated = store.execute(
            "select count(*) from inference_events where list_contains(visited_colos, colo_id)"
        ).fetchone()
    assert dict(hops).get(1, 0) > 0
    assert repeated == (0,)
