"""Addresses: "host:port", "[v6]:port" or "unix:/path"."""

from __future__ import annotations

from typing import Final

UNIX: Final = "unix:"


def unix_path(address: str) -> str | None:
    """Return a Unix socket's path, None if the address is none."""
    return address.removeprefix(UNIX) if address.startswith(UNIX) else None


def host_port(address: str) -> tuple[str, int]:
    """Read host:port; the host comes without brackets. ValueError says what is expected."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and host == bare) or not (port.isascii() and port.isdigit()):
        raise ValueError(f"expected host:port or [v6]:port or unix:/path, got {address!r}")
    return bare, int(port)


def authority(address: str) -> str:
    """Return what a request names as the authority."""
    return "localhost" if address.startswith(UNIX) else address
