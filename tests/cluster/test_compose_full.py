"""The profile `full` of docker-compose.yml: a colo cut off, a scheduler killed, all upgraded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from openai import OpenAI

from tests.cluster import ports
from tests.cluster.compose import PORTS, ROOT, Project, project, run
from tests.cluster.containers import Container, Tell, docker
from tests.cluster.images import IMAGES, TAG
from tests.system.harness import CHAT, TOKEN, until
from tests.system.load import LOST, Load

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("images", "others"),
]
COLOS = ("ams", "iad")
PORT_OF = {"ams": "HTTP_PORT", "iad": "HTTP_PORT_2"}
READY = ("python3", "-IS", "/app/services/health.py", "http://127.0.0.1:9100/readyz")
OURS = ("ams-entry", "ams-server-1", "iad-server-2", "ams-node", "usage", "scheduler-a")
OTHERS = ("postgres", "kafka", "valkey", "prometheus")
CALLS, STREAMS = 2, 1
TIMED_OUT = 408  # what was in flight there as it was cut off, at the end of its own time
NEXT_TAG = "ctest-next"


@pytest.fixture(scope="module")
def full(images: dict[str, str], others: None) -> Iterator[Project]:
    """One that is up, but for Grafana, whose image is not to be had everywhere."""
    with project("full", left_out=["grafana"]) as made:
        made.up()
        yield made


@contextmanager
def under_load(full: Project) -> Iterator[Load]:
    """Have calls and streams through both entries all the time; who gets none asks the other."""
    with ExitStack() as stack:
        clients = [full.client(port) for port in PORT_OF.values()]
        for each in clients:
            stack.callback(each.close)
        for each in clients:
            until(
                lambda at=each: at.run(CHAT, prompt="Hello!").status_code == 200,
                seconds=90,
                what="an answer",
            )
        load = Load(*clients, threads=CALLS, streams=STREAMS)
        with load:
            goes_on(load)
            yield load
            goes_on(load)


def goes_on(load: Load, *, seconds: float = 1.0) -> None:
    """Wait for answers that come so many seconds from now."""
    since = time.monotonic() + seconds
    until(lambda: load.good_since(since) > 5, seconds=60, what=lambda: f"answers: {load}")


def served(full: Project, colo: str) -> float:
    """How many calls the servers of a colo have answered."""
    name = "constellation_server_requests_total"
    return sum(full.metric(f"{colo}-server-{each}", name, status="200") for each in (1, 2))


def active(full: Project) -> list[str]:
    return [each for each in ("scheduler-a", "scheduler-b") if full[each].tried(*READY)]


def test_all_of_it_comes_up_healthy(full: Project, told: Tell) -> None:
    services = full.services()
    assert len(services) == 17
    assert {each: full[each].health for each in services} == dict.fromkeys(services, "healthy")
    assert active(full) == ["scheduler-a"]
    told(f"compose full: {len(services)} containers, healthy after {full.took:.0f} s")


@pytest.mark.parametrize("colo", COLOS)
def test_the_sdk_is_answered_in_either_colo(full: Project, colo: str) -> None:
    base = f"http://127.0.0.1:{full.ports[PORT_OF[colo]]}/v1"
    question = {"role": "user", "content": "What is the capital of France?"}
    with OpenAI(base_url=base, api_key=TOKEN) as client:
        answer = client.chat.completions.create(
            model=CHAT,
            messages=[question],  # type: ignore[list-item]
            temperature=0,
        )

    assert "Paris" in (answer.choices[0].message.content or "")


def test_the_events_of_both_colos_come_through_kafka(full: Project) -> None:
    for port in PORT_OF.values():
        client = full.client(port)
        until(lambda at=client: at.run(CHAT, prompt="Hi").status_code == 200, seconds=60, what=port)
        client.close()

    def usage() -> str:
        return full["usage"].execute("constellation", "usage", "--by", "colo")

    until(lambda: all(each in usage() for each in COLOS), seconds=60, what=usage)


def test_prometheus_sees_every_service(full: Project) -> None:
    def seen() -> set[str]:
        asked = ("promtool", "query", "instant", "http://127.0.0.1:9090", "up == 1")
        lines = full["prometheus"].execute(*asked).splitlines()
        return {line.partition('instance="')[2].partition(":")[0] for line in lines}

    ours = set(full.services()) - {*OTHERS}
    until(lambda: seen() == ours, seconds=60, what=lambda: f"{ours - seen()} up")


def test_from_outside_only_what_is_published_is_open(
    full: Project, images: dict[str, str], told: Tell
) -> None:
    here = {("127.0.0.1", full.ports[each]) for each in PORTS}
    inside = {each: ports.listening(full, each) for each in full.services()}
    addresses = [host for each in inside for host in full.networks(each).values() if host]
    all_ports = set().union(*inside.values())
    targets = {(host, port) for host in addresses for port in all_ports}

    assert ports.published(full) == here
    away = ports.address_here()
    led_in = ports.open_here(away, range(1, 65536)) - ports.listening_here()
    still = ports.open_here(away, led_in) - ports.listening_here()  # others come and go
    assert still == set(), "ports of this machine that lead on without a listener"
    assert ports.open_here(away, [port for _, port in here]) == set()
    with a_network(full) as outside:
        found = ports.open_from(images["constellation"], outside, targets, wait_s=1)
    assert found == set()
    within = ports.open_from(images["constellation"], f"{full.name}_ams", targets, wait_s=1)
    assert within, "the scan sees what is open, where it may"
    assert {host for host, _ in within} <= {
        full.networks(each).get(f"{full.name}_ams") for each in full.services()
    }
    told(
        f"compose full: of {len(targets)} ports of {len(addresses)} addresses 0 are open to a"
        f" container outside, {len(within)} to one on the network of ams"
    )


ASK = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
for over_tls in (True, False):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
            spoken = context.wrap_socket(connection) if over_tls else connection
            settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
            spoken.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + settings)
            print(len(spoken.recv(100)))
    except (ConnectionError, ssl.SSLError):
        print(0)
"""


@pytest.mark.parametrize(
    ("service", "port"), [("ams-server-1", 7000), ("scheduler-a", 7100), ("usage", 8090)]
)
def test_within_the_networks_nobody_answers_without_a_certificate(
    full: Project, service: str, port: int
) -> None:
    answers = full["ams-entry"].execute("python3", "-c", ASK, service, str(port))

    assert answers.split() == ["0", "0"], "over TLS, and without it"


def test_only_who_has_its_role_has_a_key(full: Project) -> None:
    held = {each: full[each].execute("sh", "-c", "sha256sum </certs/key.pem") for each in OURS}

    assert len(set(held.values())) == 5
    assert held["ams-server-1"] == held["iad-server-2"] != held["ams-entry"]
    assert not full["ams-entry"].tried("ls", "/srv/certs/authority/key.pem")


@contextmanager
def a_network(full: Project) -> Iterator[str]:
    name = f"{full.name}-outside"
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


def test_a_rolling_upgrade_of_every_service_fails_no_request(full: Project, told: Tell) -> None:
    for name in IMAGES.values():
        docker("tag", f"{name}:{TAG}", f"{name}:{NEXT_TAG}")
    env = {**full.env, "CONSTELLATION_TAG": NEXT_TAG}
    began = time.monotonic()
    before = {each: full[each].facts["Id"] for each in full.services()}
    with under_load(full) as load:
        steps = run(ROOT / "deploy/compose/upgrade", env=env, seconds=800)
        steps += run(ROOT / "deploy/compose/upgrade", *OTHERS, env=env, seconds=300)

    took = {line.split()[0]: line for line in steps.splitlines()}
    assert set(took) == set(full.services()), steps
    assert all(before[each] != full[each].facts["Id"] for each in before)
    assert all(
        full[each].facts["Config"]["Image"].endswith(NEXT_TAG) for each in {*took} - {*OTHERS}
    )
    told(f"compose full, rolling upgrade in {time.monotonic() - began:.0f} s: {load}")
    late = [(round(when - began), text) for when, text in load.refused]
    assert load.failed == 0, f"{late}\n{steps}"
    assert not load.broken, load.broken[:3]


def test_a_colo_that_is_cut_off_is_served_by_the_other(full: Project, told: Tell) -> None:
    with under_load(full) as load:
        cut = full.cut("ams")
        try:
            before, there = served(full, "iad"), served(full, "ams")
            goes_on(load, seconds=8)
            settled = time.monotonic()
            goes_on(load, seconds=5)
            meanwhile = load.ends(settled)
            assert served(full, "iad") > before + 5
        finally:
            full.heal("ams", cut)
        assert set(cut) == {each for each in full.services() if each.startswith("ams-")}
        until(lambda: served(full, "ams") > there + 5, seconds=90, what="ams serves again")
        back = time.monotonic()
        goes_on(load, seconds=3)

    told(f"compose full, ams cut off for 14 s: {load}")
    assert set(meanwhile) <= {200, TIMED_OUT}
    assert set(load.ends(back)) <= {200, TIMED_OUT}
    assert load.ends()[LOST] == 0
    assert load.failed <= 2 * CALLS, "in flight there, and who asked once more"


def test_a_standby_takes_over_from_a_killed_scheduler(full: Project, told: Tell) -> None:
    [first] = active(full)
    with under_load(full) as load:
        docker("kill", full[first].name)
        killed = time.monotonic()
        until(lambda: active(full), seconds=60, what="another is active")
        took_s = time.monotonic() - killed
        [second] = active(full)
        goes_on(load, seconds=6)
        docker("start", full[first].name)
        full[first].wait_until("healthy", seconds=60)

    full[second].execute("constellation", "account", "create", "acme")
    assert active(full) == [second] != [first]
    told(f"compose full, kill -9 of the active scheduler: another after {took_s:.1f} s; {load}")
    assert load.failed == 0
    assert not load.broken


def test_no_log_has_a_secret_or_a_bug(full: Project) -> None:
    logs = {each: Container(full[each].name).logs for each in full.services()}
    passwords = [each.read_text().strip() for each in full.secrets.iterdir()]

    frames = ('File "/app/services', 'File "/app/libs')  # of tracebacks
    assert [name for name, text in logs.items() if any(each in text for each in frames)] == []
    assert [name for name, text in logs.items() if any(each in text for each in passwords)] == []


def test_down_leaves_nothing(full: Project) -> None:
    full.down()

    assert full.left() == {}
