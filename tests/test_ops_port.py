"""What a service alone tells of itself over HTTP, and the container's check that asks it."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen
from wsgiref.simple_server import make_server

import pytest
import trustme
from prometheus_client import CollectorRegistry, Gauge

from libs.common.rpc import CannotListen
from services import health
from services.ops_port import OpsPort

Site = SimpleNamespace


@pytest.fixture
def site() -> Iterator[Site]:
    """An ops port that listens, and how long its loop is stuck."""
    registry = CollectorRegistry()
    Gauge("answer", "Of everything.", registry=registry).set(42)
    loop = SimpleNamespace(stuck_s=0.0)
    ops = OpsPort(registry, stuck_s=lambda: loop.stuck_s)
    with ops.listening("127.0.0.1:0") as url:
        yield Site(ops=ops, loop=loop, url=url)


def ask(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_there_before_the_service_is(site: Site) -> None:
    assert "answer 42.0" in ask(f"{site.url}/metrics")[1]
    assert ask(f"{site.url}/healthz") == (200, "ok\n")
    assert ask(f"{site.url}/readyz") == (503, "it is not up\n")


def test_a_service_that_is_up_is_ready(site: Site) -> None:
    site.ops.is_ready = True

    assert ask(f"{site.url}/readyz") == (200, "ok\n")


@pytest.mark.parametrize("path", ["healthz", "readyz"])
def test_a_stuck_loop_is_neither_well_nor_ready(site: Site, path: str) -> None:
    site.ops.is_ready = True
    site.loop.stuck_s = 7.2

    assert ask(f"{site.url}/{path}") == (503, "its event loop is stuck for 7 s\n")


def test_an_address_that_is_taken_is_told(site: Site) -> None:
    address = site.url.removeprefix("http://")
    other = OpsPort(CollectorRegistry(), stuck_s=lambda: 0.0)

    with pytest.raises(CannotListen, match=f"cannot listen on {address}"), other.listening(address):
        pass


def test_it_listens_on_addresses_of_version_6() -> None:
    ops = OpsPort(CollectorRegistry(), stuck_s=lambda: 0.0)

    with ops.listening("[::1]:0") as url:
        assert ask(f"{url}/healthz")[0] == 200
        assert checked(f"{url}/healthz") == (0, "")


def checked(*arguments: str, **env: str) -> tuple[int, str]:
    """Run the check as an engine does."""
    command = [sys.executable, "-IS", str(Path(health.__file__)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=20)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_check_passes_where_the_service_is_well(site: Site) -> None:
    assert checked(f"{site.url}/healthz") == (0, "")
    assert checked(CONSTELLATION_HEALTH=f"{site.url}/healthz") == (0, "")


def test_the_check_asks_over_tls_whoever_the_certificate_names(site: Site) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("entry.example").configure_cert(context)
    server = make_server("127.0.0.1", 0, site.ops)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.handle_request)
    thread.start()

    try:
        assert checked(f"https://127.0.0.1:{server.server_port}/healthz") == (0, "")
    finally:
        thread.join(10)
        server.server_close()


def test_the_check_says_what_is_wrong(site: Site) -> None:
    code, said = checked(f"{site.url}/readyz")

    assert code == 1
    assert said.rstrip().endswith("503 Service Unavailable: it is not up")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "expected a URL of http or https, got ''"),
        ("127.0.0.1:9100", "expected a URL of http or https, got '127.0.0.1:9100'"),
        ("http://127.0.0.1/readyz", "http://127.0.0.1/readyz: "),
        ("http://127.0.0.1:1/readyz", "http://127.0.0.1:1/readyz: [Errno 111] Connection refused"),
    ],
    ids=["nothing", "no scheme", "no port", "nobody there"],
)
def test_the_check_fails_where_it_cannot_ask(url: str, says: str) -> None:
    code, said = checked(url)

    assert code == 1
    assert said.startswith(says)
