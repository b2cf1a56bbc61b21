"""Run in a network namespace of its own: a connection, and a network that is taken away.

Prints how long a call in flight took to fail, and whether an idle connection was given up.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import time

from libs.lean import Channel, Limits, RpcError
from tests.lean.support import ECHO, HANG, serving
from tests.waiting import until

SET_FLAGS = 0x8914  # SIOCSIFFLAGS
UP = 1  # IFF_UP
SILENCE_S = 2.0


def switch_network(*, on: bool) -> None:
    """Switch the one device that there is here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SET_FLAGS, struct.pack("16sH14x", b"lo", UP if on else 0))


async def main() -> None:
    """Cut off one channel with a call in flight, and one without."""
    switch_network(on=True)
    limits = Limits(silence_s=SILENCE_S, keepalive_s=60)  # no PING comes before it
    async with serving() as (address, _):
        busy, idle = (Channel(address, limits=limits) for _ in range(2))
        for each in (busy, idle):
            await each.unary(ECHO, b"", timeout_s=5)
        began = time.monotonic()
        switch_network(on=False)
        try:
            await busy.unary(HANG, b"", timeout_s=30)
        except RpcError as error:
            sys.stdout.write(f"{error.status.name} {time.monotonic() - began:.1f}\n")
        await until(lambda: not idle.is_connected, 20)
        sys.stdout.write(f"idle {time.monotonic() - began:.1f}\n")
        switch_network(on=True)
        for each in (busy, idle):
            assert await each.unary(ECHO, b"back", timeout_s=5) == b"back"
            await each.close()


asyncio.run(main())
