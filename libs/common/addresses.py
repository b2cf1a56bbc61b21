"""Addresses as people write them: host:port, with [host] for IPv6, or a Unix socket's path."""

from __future__ import annotations

from typing import Final

LONGEST_UNIX_PATH: Final = 107  # bytes: what sockaddr_un has room for
HIGHEST_PORT: Final = 65535


def host_port(text: str) -> tuple[str, int]:
    """Read host:port; the host comes without brackets. ValueError says what is expected."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isascii() or not port.isdigit() or int(port[:6]) > HIGHEST_PORT:
        raise ValueError(f"expected host:port, got {text!r}")
    if ":" in bare and host != f"[{bare}]":
        raise ValueError(f"expected [host]:port for IPv6, got {text!r}")
    return bare, int(port)


def in_brackets(host: str) -> str:
    """Return a host as an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
