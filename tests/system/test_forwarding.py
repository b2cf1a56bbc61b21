"""Two servers in one colo and one in another: who is full, leaves, dies or is cut off is helped."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest

from tests.short_dirs import short_dir
from tests.system.cluster import Cluster, tell
from tests.system.harness import ACCOUNT, CHAT, Client, Load, cleaned_up, until

pytestmark = [pytest.mark.timeout(280), pytest.mark.xdist_group("forwarding")]
THREADS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with short_dir() as state, cleaned_up(state):
        made = Cluster(state, {"ams": 2, "iad": 1})
        made.start()
        yield made
        made.stop()
        check_events(made)


def owner(cluster: Cluster, colo: str) -> str:
    """The server of a colo that has the text model."""
    return max(
        (each for each in cluster.servers if each.startswith(colo)),
        key=lambda name: cluster.metric_of(name, "constellation_server_total_permits", model=CHAT),
    )


def ends(load: Load, since: float = 0.0) -> Counter[int]:
    return Counter(status for when, status in load.statuses if when >= since)


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
    clients = [Client(port) for _ in range(3 * THREADS)]  # more than two instances have permits for
    with ThreadPoolExecutor(len(clients)) as threads:
        until(has_helped, seconds=30, what=lambda: f"iad helps: {Counter(statuses)}")
    for each in clients:
        each.close()

    tell(f"forwarded {forwarded() - before:.0f} of {len(statuses)}: {Counter(statuses)}")
    assert set(statuses) <= {200, 429}


def test_a_rolling_restart_of_all_servers_loses_no_request(cluster: Cluster) -> None:
    with Load(cluster.client, threads=THREADS) as load:
        until(lambda: load.good_since(0) > 20, seconds=30, what="answers")
        for name in cluster.servers:
            assert cluster.services[name].stop() == 0, cluster.services[name].text()
            cluster.services[name].start().wait_for(" is up: ")
            back = time.monotonic()
            until(lambda since=back: load.good_since(since + 1) > 10, seconds=30, what="answers")

    tell(f"restarted {cluster.servers}: {ends(load)}")
    assert set(ends(load)) == {200}
    until(cluster.all_ready, seconds=30, what="every colo has its permits")


def test_streams_outlive_a_rolling_restart(cluster: Cluster) -> None:
    whole: list[bool] = []
    over = threading.Event()

    def ask() -> None:
        client = Client(int(cluster.client.base.rpartition(":")[2]))
        url = f"{client.account}/ai/run/{CHAT}"
        while not over.is_set():
            body = {"prompt": "Tell me a story.", "stream": True, "max_tokens": 60}
            with client.http.stream("POST", url, json=body) as answer:
                lines = [line for line in answer.iter_lines() if line]
            whole.append(answer.status_code == 200 and not any("error" in x for x in lines))
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for name in cluster.servers:
        assert cluster.services[name].stop() == 0
        cluster.services[name].start().wait_for(" is up: ")
        time.sleep(1.0)
    over.set()
    for each in threads:
        each.join(60)

    tell(f"streams: {Counter(whole)}")
    assert len(whole) > 10
    assert all(whole)
    until(cluster.all_ready, seconds=30, what="every colo has its permits")


def test_a_killed_server_takes_only_what_ran_there(cluster: Cluster) -> None:
    victim = owner(cluster, "ams")
    with Load(cluster.client, threads=THREADS) as load:
        until(lambda: load.good_since(0) > 20, seconds=30, what="answers")
        cluster.services[victim].kill()
        killed = time.monotonic()
        until(lambda: load.good_since(killed + 7) > 20, seconds=40, what="answers without it")
        cluster.services[victim].start().wait_for(" is up: ")
        until(cluster.all_ready, seconds=30, what="every colo has its permits")

    tell(f"killed {victim}: {ends(load)}, after the first second {ends(load, killed + 1)}")
    assert set(ends(load)) <= {200, 503}
    assert ends(load)[503] <= THREADS, "those that were in flight there"
    assert set(ends(load, killed + 1)) == {200}


def test_a_colo_that_is_cut_off_is_left_and_found_again(cluster: Cluster) -> None:
    def served() -> float:
        return cluster.metric("iad", "constellation_server_requests_total", status="200")

    far = cluster.services["iad-server"].process
    with Load(cluster.client, threads=2 * THREADS) as load:
        before = served()
        until(lambda: served() > before + 10, seconds=30, what="both colos serve")
        far.send_signal(signal.SIGSTOP)
        cut_off = time.monotonic()
        try:
            until(lambda: load.good_since(cut_off + 12) > 50, seconds=60, what="ams goes on")
        finally:
            far.send_signal(signal.SIGCONT)
        back = served()
        until(lambda: served() > back + 10, seconds=30, what="iad serves again")

    all_of, late = ends(load), ends(load, cut_off + 8)
    tell(f"cut off: {all_of}, from the 8th second on {late}")
    assert set(all_of) <= {200, 503}
    assert all_of[503] <= 2 * THREADS, "those that were in flight there"
    assert late[503] == 0


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
    tell(f"events by hops: {dict(hops)}")
    assert dict(hops).get(1, 0) > 0
    assert repeated == (0,)
