"""The kernel's probes: a peer whose machine or network is gone is found out without a call.

HTTP/2's PING is for peers that are there and do not work; it is sent while calls are in flight.
This one costs no process anything, and so it also watches connections that are idle.
"""

from __future__ import annotations

import socket
from typing import Final, Protocol

PROBES: Final = 3  # that stay without an answer


class Socket(Protocol):
    """A socket, or what uvloop shows of one."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        """Set an option."""
        ...


def probe(sock: Socket, silence_s: float) -> None:
    """Break a TCP connection on which the other side's kernel acknowledges nothing for so long.

    That is to the second, and where a system lacks an option it takes what it has.
    """
    idle_s = max(1, round(silence_s / (PROBES + 1)))
    options = {
        "TCP_KEEPIDLE": idle_s,
        "TCP_KEEPALIVE": idle_s,  # macOS's name of the one above
        "TCP_KEEPINTVL": idle_s,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": round(silence_s * 1000),  # Linux: for data on its way, too
    }
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
