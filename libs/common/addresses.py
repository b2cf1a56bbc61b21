"""Addresses as people write them: host:port, with [host] for IPv6, or a Unix socket's path."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

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


def base_url(text: str) -> str:
    """Return where an HTTP API begins, of host:port or a URL; without a path it is /v1.

    ValueError says what is expected.
    """
    if "://" not in text:
        host_port(text)
        return f"http://{text}/v1"
    parts = urlsplit(text)
    _ = parts.port  # ValueError for one that is none
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"expected host:port, or http(s)://host[:port][/path], got {text!r}")
    if parts.username is not None:
        raise ValueError("expected an address without a name and password in it: name a `key`")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_host_port(text: str) -> str:
    """Check host:port, or nothing. ValueError says what is expected, and not what was got."""
    try:
        _ = host_port(text) if text else None
    except ValueError as error:
        raise ValueError(str(error).partition(", got ")[0]) from error
    return text


def checked_address(text: str) -> str:
    """Check host:port, a Unix socket's path after unix:, or nothing. ValueError."""
    return text if text.removeprefix("unix:") != text else checked_host_port(text)


def in_brackets(host: str) -> str:
    """Return a host as an address has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
