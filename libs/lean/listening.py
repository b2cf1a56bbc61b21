"""Sockets to listen on, bound but for themselves: nothing is taken from one that lives."""

from __future__ import annotations

import errno
import os
import socket
import stat

from libs.lean.addresses import host_port, unix_path


def bind(address: str) -> tuple[list[socket.socket], str]:
    """Return bound sockets, and the address with its real port. Raises OSError, ValueError."""
    path = unix_path(address)
    if path is not None:
        return [_bind_unix(path)], address
    host, port = host_port(address)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, *_, place in found:
            # a name's second address gets the port that the first was given
            sockets.append(_bind_internet(family, (place[0], port, *place[2:])))
            port = sockets[0].getsockname()[1]
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets, f"{address.rpartition(':')[0]}:{port}"


def _bind_internet(family: int, place: tuple[object, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(path: str) -> socket.socket:
    _clear(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        os.chmod(path, 0o600)  # before anybody can connect, which takes a listen
    except OSError:
        bound.close()
        raise
    return bound


def _clear(path: str) -> None:
    """Remove the socket of a server that is gone; refuse that of one that lives."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is alive, too
        found = probe.connect_ex(path)
    if found == errno.ECONNREFUSED and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)
    elif found != errno.ENOENT:
        raise OSError(errno.EADDRINUSE, "another process listens there, or it is no socket", path)
