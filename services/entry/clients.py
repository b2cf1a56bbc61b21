"""Clients by their addresses: what one address may cost before anybody knows whose token it has.

An address is IPv4, or the /64 of an IPv6 network, which one customer has whole. Behind proxies
that the settings name it is the one that they tell; nobody else's word counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final
from urllib.parse import unquote

from multidict import MultiMapping
from pydantic import AfterValidator

from libs.common.clock import Clock
from libs.common.errors import TooManyRequests, TooManyWrongTokens
from services.entry.pace import Pace

FORWARDED: Final = "x-forwarded-for"
MOST_HOPS: Final = 32  # of proxies that are looked at
MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """What one address may do; 0: as much as it likes."""

    requests_per_s: float = 0.0
    wrong_tokens_per_min: int = 0
    addresses: int = 65_536  # that are remembered
    proxies: str = ""  # whose word on addresses is believed: networks, with commas between them


class Clients:
    """Counts requests and wrong tokens of each address."""

    def __init__(self, limits: ClientLimits, clock: Clock) -> None:
        most, rate, wrong = limits.addresses, limits.requests_per_s, limits.wrong_tokens_per_min
        self._clock = clock
        self._requests = Pace(per_s=rate, burst=max(1.0, rate), most=most) if rate else None
        self._wrong = Pace(per_s=wrong / MINUTE_S, burst=wrong, most=most) if wrong else None
        self._proxies = tuple(map(ip_network, split(limits.proxies)))

    def __repr__(self) -> str:
        return f"<Clients requests={self._requests!r} wrong tokens={self._wrong!r}>"

    @property
    def count_requests(self) -> bool:
        """Whether `request` has anything to do."""
        return self._requests is not None

    def request(self, peer: str, headers: Mapping[str, str]) -> None:
        """Count a request, before anything is done for it. TooManyRequests."""
        pace, client, now = self._requests, self.client(peer, headers), self._clock.now()
        if pace is None or not client:
            return
        if wait_s := pace.wait_s(client, now):
            text = "too many requests from this address"
            raise TooManyRequests(text, retry_after_ms=int(wait_s * 1000) + 1)
        pace.take(client, now)

    def check(self, peer: str, headers: Mapping[str, str]) -> None:
        """Refuse to look at a token, after many wrong ones. TooManyWrongTokens."""
        pace = self._wrong
        client = "" if pace is None else self.client(peer, headers)
        if pace is not None and client and (wait_s := pace.wait_s(client, self._clock.now())):
            text = "too many wrong tokens from this address"
            raise TooManyWrongTokens(text, retry_after_ms=int(wait_s * 1000) + 1)

    def wrong_token(self, peer: str, headers: Mapping[str, str]) -> None:
        """Count a request that nobody's token came with."""
        if self._wrong is not None and (client := self.client(peer, headers)):
            self._wrong.take(client, self._clock.now())

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """Return whose request it is: empty for a Unix socket's, whose file is its owner's."""
        if self._proxies and self.is_proxy(peer):
            for told in reversed(_forwarded(headers)[-MOST_HOPS:]):
                if address_of(told) is None:
                    break  # what stands before it, nobody can have checked
                peer = told
                if not self.is_proxy(told):
                    break
        return group(peer)

    def holder(self, peer: str) -> str:
        """Return who is to have a connection counted: nobody where it is a proxy's."""
        return "" if self.is_proxy(peer) else group(peer)

    def is_proxy(self, peer: str) -> bool:
        """Whether what a peer tells of addresses is believed."""
        address = address_of(peer) if self._proxies else None
        return address is not None and any(address in each for each in self._proxies)


def split(networks: str) -> list[str]:
    """Return the networks of a setting."""
    return [each.strip() for each in networks.split(",") if each.strip()]


@lru_cache(maxsize=4096)
def group(peer: str) -> str:
    """Return what an address is counted as, empty where it is none."""
    address = address_of(peer)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return "" if address is None else str(address)


@lru_cache(maxsize=4096)
def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as peers, proxies and gRPC write it, with a port or not; None: no address."""
    bare = unquote(text.strip().removeprefix("ipv4:").removeprefix("ipv6:"))
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def networks(text: str) -> str:
    """Check the networks of a setting."""
    for each in split(text):
        try:
            ip_network(each)
        except ValueError as error:
            why = f"expected networks such as 10.0.0.0/8, separated by commas: {error}"
            raise ValueError(why) from error
    return text


Networks = Annotated[str, AfterValidator(networks)]


def _forwarded(headers: Mapping[str, str]) -> list[str]:
    """Return the addresses that proxies told, the nearest last; each may have a line of its own."""
    if isinstance(headers, MultiMapping):
        lines = headers.getall(FORWARDED, [])
    else:
        lines = [headers.get(FORWARDED, "")]
    return [each.strip() for each in ",".join(lines).split(",") if each.strip()]
