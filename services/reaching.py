"""Which of the addresses that others run somebody answers at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from libs.common.addresses import base_url, host_port

LONGEST_S: Final = 2.0
PORTS: Final = {"http": 80, "https": 443}


async def silent(addresses: Iterable[str], *, longest_s: float = LONGEST_S) -> set[str]:
    """Return the addresses at which nobody takes a connection within so many seconds."""
    asked = sorted(set(addresses))
    answers = await asyncio.gather(*(_answers(each, longest_s) for each in asked))
    return {address for address, is_there in zip(asked, answers, strict=True) if not is_there}


async def _answers(address: str, longest_s: float) -> bool:
    try:
        async with asyncio.timeout(longest_s):
            _, writer = await asyncio.open_connection(*_place(address))
    except OSError:  # a TimeoutError is one, too
        return False
    writer.close()
    return True


def _place(address: str) -> tuple[str, int]:
    """Return host and port of an address as the catalog has it, which may be a URL."""
    if "://" not in address:
        return host_port(address)
    parts = urlsplit(base_url(address))
    return parts.hostname or "", parts.port or PORTS[parts.scheme]
