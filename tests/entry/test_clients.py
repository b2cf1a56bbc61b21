"""Clients: whose address a request is, and what it may still ask for."""

import pytest
from multidict import CIMultiDict
from pydantic import TypeAdapter, ValidationError

from libs.common.clock import ManualClock
from libs.common.errors import TooManyRequests, TooManyWrongTokens
from services.entry.clients import FORWARDED, ClientLimits, Clients, Networks

PROXIES = "10.0.0.0/8, fd00::/8"


def clients(clock: ManualClock | None = None, **limits: object) -> Clients:
    return Clients(ClientLimits(**limits), clock or ManualClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.2.3.4", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::/64"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, nonsense, 10.2.3.4", "10.2.3.4"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("fd00::1", "198.51.100.7", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("2001:db8:0:1:2:3:4:5", "", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("ipv4:192.0.2.1:50000", "", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:50000", "", "2001:db8::/64"),
        ("ipv6:[2001:db8::1]:50000", "", "2001:db8::/64"),
        ("unix:", "", ""),
        ("", "198.51.100.7", ""),
    ],
)
def test_a_client_is_who_trusted_proxies_say(peer: str, told: str, client: str) -> None:
    found = clients(proxies=PROXIES)

    assert found.client(peer, {FORWARDED: told}) == client


def test_without_proxies_nobody_is_believed() -> None:
    assert clients().client("127.0.0.1", {FORWARDED: "198.51.100.7"}) == "127.0.0.1"


def test_a_proxy_may_tell_in_a_line_of_its_own() -> None:
    told = CIMultiDict([("X-Forwarded-For", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7")])

    assert clients(proxies=PROXIES).client("10.0.0.1", told) == "198.51.100.7"


def test_a_proxys_connections_are_nobodys() -> None:
    found = clients(proxies=PROXIES)

    assert found.holder("10.9.9.9") == ""
    assert found.holder("192.0.2.1") == "192.0.2.1"
    assert found.holder("2001:db8::1") == found.holder("2001:db8::2")


def test_requests_of_one_address_are_bounded_and_others_go_on() -> None:
    clock = ManualClock()
    found = clients(clock, requests_per_s=2.0)
    for _ in range(2):
        found.request("192.0.2.1", {})

    with pytest.raises(TooManyRequests) as refused:
        found.request("192.0.2.1", {})
    assert 499 <= refused.value.retry_after_ms <= 501
    found.request("192.0.2.2", {})
    clock.advance(0.5)
    found.request("192.0.2.1", {})


def test_wrong_tokens_close_an_address_until_the_minute_lets_more_in() -> None:
    clock = ManualClock()
    found = clients(clock, wrong_tokens_per_min=3)
    for _ in range(3):
        found.check("192.0.2.1", {})
        found.wrong_token("192.0.2.1", {})

    with pytest.raises(TooManyWrongTokens):
        found.check("192.0.2.1", {})
    found.check("192.0.2.2", {})
    clock.advance(21)
    found.check("192.0.2.1", {})


def test_without_limits_nothing_is_counted() -> None:
    found = clients()
    for _ in range(1000):
        found.request("192.0.2.1", {})
        found.wrong_token("192.0.2.1", {})
        found.check("192.0.2.1", {})

    assert not found.count_requests


@pytest.mark.parametrize("text", ["10.0.0.0/8,nonsense", "10.0.0.1/8", "proxy.example"])
def test_networks_that_are_none_are_told(text: str) -> None:
    with pytest.raises(ValidationError, match=r"expected networks such as 10\.0\.0\.0/8"):
        TypeAdapter(Networks).validate_python(text)
